"""The release document in ConfigMaps of a real API server: what every store does, and what only this one can."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from tests.cluster.namespace import Namespace
from tests.release.behaviour import ANN, Behaviour, Opened, first
from tfsdeploy.agent.kubernetes.account import Account
from tfsdeploy.agent.kubernetes.configmaps import AccountConfigMaps
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import fleet_labels
from tfsdeploy.release import transitions
from tfsdeploy.release.configmap import Away, ReleaseConfigMaps
from tfsdeploy.release.model import MAX_BYTES, Change, OtherVersion, Release
from tfsdeploy.release.update import change_model

pytestmark = pytest.mark.cluster


@pytest.fixture
def opened(account: Account) -> Opened:
    return partial(ReleaseConfigMaps, AccountConfigMaps(account), "shop")


class TestReleaseConfigMaps(Behaviour):
    """The behaviour of every store, in ConfigMaps."""

    @pytest.fixture
    def written(self, namespace: Namespace) -> Callable[[str], None]:
        def write(text: str) -> None:
            namespace.kubectl("patch", "configmap", "shop-release", "--type=merge", "-p", patch(text))

        return write

    @pytest.fixture
    def forget(self, namespace: Namespace) -> Callable[[], None]:
        def delete() -> None:
            namespace.kubectl("delete", "configmap", "shop-release")

        return delete


def patch(text: str) -> str:
    return json.dumps({"data": {"release.json": text}})


class Faulty(AccountConfigMaps):
    """Loses answers, or the process, at a moment of the test's choice."""

    def __init__(self, account: Account, *, lose: str = "", die: str = "") -> None:
        super().__init__(account)
        self.lose, self.die = lose, die

    def replace(self, configmap: Mapping[str, Any]) -> None:
        name = configmap["metadata"]["name"]
        if name == self.die:
            raise KeyboardInterrupt
        super().replace(configmap)
        if name == self.lose:
            self.lose = ""
            raise Away("the answer was lost")


def label(store: ReleaseConfigMaps, n: int) -> Release:
    return change_model(store, "m", lambda model: transitions.label(model, {f"l{n}": 1}), ANN)


def test_a_writer_that_dies_before_the_swap_leaves_no_gap_and_no_double(account: Account, opened: Opened) -> None:
    first(opened())
    label(opened(), 1)
    dying = ReleaseConfigMaps(Faulty(account, die="shop-release"), "shop")
    with pytest.raises(KeyboardInterrupt):
        label(dying, 2)
    assert [entry.generation for entry in opened().history()] == [2, 1]
    assert opened().read().generation == 2
    label(opened(), 3)
    assert [entry.generation for entry in opened().history()] == [3, 2, 1]


@pytest.mark.parametrize("document", ["shop-release", "shop-history"])
def test_a_write_whose_answer_is_lost_happens_once(account: Account, opened: Opened, document: str) -> None:
    first(opened())
    label(opened(), 1)
    written = label(ReleaseConfigMaps(Faulty(account, lose=document), "shop", patience=5.0), 2)
    assert written.generation == 3
    assert opened().read() == written
    assert [entry.generation for entry in opened().history()] == [3, 2, 1]


def test_what_others_wrote_on_it_stays(namespace: Namespace, opened: Opened) -> None:
    first(opened())
    (made,) = namespace.get("configmaps", "-l", "tfsdeploy/fleet=shop")
    assert made["metadata"]["labels"] == fleet_labels("shop")
    namespace.kubectl("annotate", "configmap", "shop-release", "team=search")
    label(opened(), 1)
    (after,) = namespace.get("configmaps", "--field-selector=metadata.name=shop-release")
    assert after["metadata"]["annotations"] == {"team": "search"}


def test_an_annotation_meanwhile_is_no_conflict(account: Account, namespace: Namespace, opened: Opened) -> None:
    class Annotating(AccountConfigMaps):
        def replace(self, configmap: Mapping[str, Any]) -> None:
            namespace.kubectl("annotate", "configmap", "shop-release", "n=1", check=False)
            super().replace(configmap)

    first(opened())
    assert label(ReleaseConfigMaps(Annotating(account), "shop"), 1) == opened().read()


def test_history_stays_below_the_limit_of_a_configmap(opened: Opened) -> None:
    """Each generation carries 130 KB of what was before: ten of them do not fit."""
    many = {f"l{n:060d}": 1 for n in range(2000)}
    store = opened()
    first(store)
    for n in range(10):
        change_model(store, "m", lambda model, n=n: transitions.label(model, {**many, f"x{n}": 1}), ANN)
    generations = [entry.generation for entry in store.history()]
    assert generations == list(range(11, 11 - len(generations), -1))
    assert 5 <= len(generations) <= MAX_BYTES // 130_000 + 1


def test_prepare_makes_what_is_missing_and_nothing_else(opened: Opened) -> None:
    start = Release("shop", "u1", 1, Change("job", "", "", ""))
    opened().prepare(start)
    assert opened().read() == start
    label_free = Release("shop", "u2", 1, Change("job", "", "", ""))
    opened().prepare(label_free)
    assert opened().read() == start
    assert [entry.generation for entry in opened().history()] == [1]


@pytest.mark.parametrize("lost", ["delete", "patch"])
def test_a_lost_document_is_put_back_from_what_agents_remember(
    account: Account, namespace: Namespace, opened: Opened, lost: str
) -> None:
    first(opened())
    known = label(opened(), 1)
    if lost == "delete":
        namespace.kubectl("delete", "configmap", "shop-release")
    else:
        namespace.kubectl("patch", "configmap", "shop-release", "--type=merge", "-p", patch("{"))
    store = ReleaseConfigMaps(AccountConfigMaps(account), "shop", remembered=lambda: known)
    assert "configmap" in store.loss()
    assert store.read() == known
    again = label(store, 2)
    assert (again.uid, again.generation) == (known.uid, known.generation + 1)
    assert opened().read() == again
    assert store.loss() == ""
    assert [entry.generation for entry in opened().history()] == [3, 2, 1]


def test_what_a_later_version_has_written_is_not_replaced(
    account: Account, namespace: Namespace, opened: Opened
) -> None:
    first(opened())
    known = label(opened(), 1)
    namespace.kubectl(
        "patch", "configmap", "shop-release", "--type=merge", "-p", patch('{"apiVersion":"tfsdeploy/v2"}')
    )
    store = ReleaseConfigMaps(AccountConfigMaps(account), "shop", remembered=lambda: known)
    assert store.loss() == ""
    with pytest.raises(OtherVersion):
        label(store, 2)


def test_prepare_begins_with_what_agents_remember(account: Account, opened: Opened) -> None:
    first(opened())
    known = label(opened(), 1)
    empty = ReleaseConfigMaps(AccountConfigMaps(account), "elsewhere", remembered=lambda: known)
    empty.prepare(Release("elsewhere", "u2", 1, Change("job", "", "", "")))
    assert empty.read() == known


def test_a_namespace_that_is_not_there_is_named(account: Account) -> None:
    account.namespace = "nowhere"
    with pytest.raises(TfsdeployError, match='namespaces "nowhere" not found'):
        first(ReleaseConfigMaps(AccountConfigMaps(account), "shop"))


def test_an_api_server_that_is_away_is_named(account: Account) -> None:
    account.url = "https://localhost:1"
    with pytest.raises(Away, match="https://localhost:1 does not answer"):
        ReleaseConfigMaps(AccountConfigMaps(account), "shop", patience=0.3).read()
