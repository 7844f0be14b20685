"""Whether a version fits beside what is loaded, by what was measured or by its size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfsdeploy.deploy.room import SERVER_BYTES, Estimated, check, resident
from tfsdeploy.errors import Refused
from tfsdeploy.release.model import Change, ModelRelease, Release
from tfsdeploy.release.transitions import add
from tfsdeploy.store.record import Check, File, InvalidRecord, Record
from tfsdeploy.targets.base import Settings

MIB = 1 << 20
LOCAL = Settings("shop", "local", "/f", "file:///m", {}, 3, 2, 1)
RECORD = Record("ranker", 8, "sha256:0", (File("saved_model.pb", 100 * MIB, "0"),), "now", "a@b")
MEASURED = replace(RECORD, check=Check("2.20.0", 1.5, 200 * MIB, 260 * MIB, 0, 0))


class Records:
    """Every version that is asked for is like one record; those that are named cannot be read."""

    def __init__(self, like: Record, unreadable: frozenset[tuple[str, int]] = frozenset()) -> None:
        self._like = like
        self._unreadable = unreadable

    def record(self, model: str, version: int) -> Record:
        if (model, version) in self._unreadable:
            raise InvalidRecord("nonsense")
        return replace(self._like, model=model, version=version)


def released(**models: ModelRelease) -> Release:
    return Release("shop", "u", 1, Change("a", "now", "", "up"), None, models)


@pytest.mark.parametrize(("available", "fits"), [(361 * MIB, True), (359 * MIB, False), (None, True)])
def test_memory_for_all_replicas_of_this_machine(available: int | None, fits: bool) -> None:
    state = add(7, None)
    arguments = (Records(RECORD), RECORD, released(ranker=state), state, LOCAL, available)
    if fits:
        check(*arguments)
    else:
        with pytest.raises(Refused, match="by its size it needs about 120 MiB of memory, 360 MiB on 3"):
            check(*arguments)


def test_what_was_measured_counts_instead_of_the_size() -> None:
    state = add(7, None)
    with pytest.raises(Refused, match="it was measured to need 260 MiB of memory, 780 MiB on 3"):
        check(Records(RECORD), MEASURED, released(ranker=state), state, LOCAL, 779 * MIB)
    check(Records(RECORD), MEASURED, released(ranker=state), state, LOCAL, 781 * MIB)


@pytest.mark.parametrize(
    ("new", "others", "limit", "fits"),
    [
        # 7 and the other model take 120 MiB each, the new one as much.
        (RECORD, RECORD, SERVER_BYTES + 360 * MIB, True),
        (RECORD, RECORD, SERVER_BYTES + 359 * MIB, False),
        (MEASURED, MEASURED, SERVER_BYTES + 660 * MIB, True),
        (MEASURED, MEASURED, SERVER_BYTES + 659 * MIB, False),
    ],
)
@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_a_limit_holds_what_is_loaded_and_the_new_version(
    new: Record, others: Record, limit: int, fits: bool, target: str
) -> None:
    state = add(7, None)
    settings = replace(LOCAL, target=target, memory=limit)
    arguments = (Records(others), new, released(ranker=state, other=add(1, None)), state, settings, None)
    if fits:
        check(*arguments)
    else:
        with pytest.raises(Refused, match=r"does not fit: .* of 2 loaded versions") as no:
            check(*arguments)
        assert "raise serving.resources.memory" in no.value.hint
        # Only who was told an estimate may know better.
        assert (isinstance(no.value, Estimated), "--force" in no.value.hint) == ((new is RECORD),) * 2


def test_what_is_loaded_already_needs_no_memory_again() -> None:
    state = add(8, None)
    check(Records(RECORD), RECORD, released(ranker=state), state, replace(LOCAL, memory=0), 0)


def test_versions_that_leave_first_do_not_count() -> None:
    state = replace(add(7, None), versions={5: None, 6: None, 7: None}, previous=6)
    stay = set(resident(released(ranker=state, other=add(1, None)), state, RECORD, keep=1))
    assert stay == {("ranker", 7), ("other", 1)}


def test_on_this_machine_they_give_their_memory_back_first() -> None:
    state = replace(add(7, None), versions={6: None, 7: None}, previous=6)
    release = released(ranker=state, other=add(1, None))
    # 120 MiB for each of three replicas, which version 6 has until it leaves.
    check(Records(RECORD), RECORD, release, state, LOCAL, 0)
    with pytest.raises(Refused, match="780 MiB on 3 replicas of this machine, and 760 MiB can be had"):
        check(Records(RECORD), MEASURED, release, state, LOCAL, 400 * MIB)


def test_a_record_that_cannot_be_read_does_not_keep_another_version_out() -> None:
    state = add(7, None)
    settings = replace(LOCAL, target="kubernetes", memory=SERVER_BYTES + 121 * MIB)
    unreadable = frozenset({("ranker", 7)})
    check(Records(RECORD, unreadable), RECORD, released(ranker=state), state, settings, None)
