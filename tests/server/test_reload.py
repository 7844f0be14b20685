"""What follows from files and folders, in both modes; with models of numpy, so that loads take no time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tests.server.arrays import LIMIT_SECONDS, half_plus_two
from tests.server.live import wait
from tfsdeploy.protocol.model_config import All, Latest, ModelConfig, Policy, Specific, render
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import config, reload, source
from tfsdeploy.server.config import from_message
from tfsdeploy.server.core import Core
from tfsdeploy.server.flags import Flags
from tfsdeploy.server.manager import Manager
from tfsdeploy.server.reload import SCAN_SECONDS, Reloader


class Unit:
    """A core that follows a file, over folders of which one named ``bad`` cannot be loaded."""

    def __init__(
        self,
        folder: Path,
        *,
        like_tfs: bool,
        polls: float = 0.1,
        scans: float = 0.1,
        retry_seconds: float = 0,
        **own: Any,
    ) -> None:
        self.folder = folder
        self.file = folder / "models.config"
        self.loads: list[str] = []
        self.manager: Manager[Any] = Manager(
            self._load, threads=4, like_tfs=like_tfs, retries=1 if retry_seconds else 0, retry_seconds=retry_seconds
        )
        self.core = Core(self.manager, like_tfs=like_tfs)
        # The flags are whole seconds; a test need not wait that long.
        flags = Flags(
            model_config_file=str(self.file),
            like_tfs=like_tfs,
            model_config_file_poll_wait_seconds=polls,  # type: ignore[arg-type]
            file_system_poll_wait_seconds=scans,  # type: ignore[arg-type]
            **own,
        )
        self.reloader = Reloader(self.core, flags)

    def _load(self, path: str) -> Any:
        self.loads.append(path)
        if (Path(path) / "bad").exists():
            raise Failed("NOT_FOUND", f"nothing to load in {path}")
        return half_plus_two()

    def publish(self, model: str, version: int, *, bad: bool = False) -> None:
        """A version's folder appears at once."""
        staged = self.folder / model / f"{version}.tmp"
        staged.mkdir(parents=True)
        if bad:
            (staged / "bad").touch()
        staged.rename(self.folder / model / str(version))

    def entry(self, model: str, policy: Policy | None = None, **labels: int) -> ModelConfig:
        """A model of this unit's folders."""
        return ModelConfig(model, str(self.folder / model), policy or Latest(), labels)

    def write(self, *models: ModelConfig) -> None:
        """Replace the configuration file at once."""
        staged = self.folder / "models.config.tmp"
        staged.write_text(render(models))
        staged.replace(self.file)

    def becomes(self, model: str, expected: dict[int, str]) -> None:
        """Wait until a model's rows are these."""

        def rows() -> dict[int, str]:
            return {row.version: row.state for row in self.manager.status(model)}

        assert self.manager.wait(lambda: rows() == expected, LIMIT_SECONDS), rows()

    def close(self) -> None:
        self.reloader.stop()
        self.manager.close()


@pytest.fixture(params=[False, True], ids=["own", "like-tfs"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path, like_tfs=request.param)
    yield made
    made.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path, like_tfs=False)
    yield made
    made.close()


@pytest.fixture
def like_tfs(tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path, like_tfs=True)
    yield made
    made.close()


def test_versions_follow_the_file(unit: Unit) -> None:
    unit.publish("m", 1)
    unit.publish("m", 2)
    unit.write(unit.entry("m", Specific((1,))))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    unit.write(unit.entry("m", Specific((1, 2))))
    unit.becomes("m", {1: "AVAILABLE", 2: "AVAILABLE"})
    unit.write(unit.entry("m", Specific((2,))))
    unit.becomes("m", {1: "END", 2: "AVAILABLE"})
    unit.write()
    unit.becomes("m", {1: "END", 2: "END"})


def test_versions_follow_the_folder(unit: Unit) -> None:
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.publish("m", 2)
    unit.becomes("m", {1: "END", 2: "AVAILABLE"})


def test_a_version_that_cannot_load_leaves_the_others_alone(unit: Unit) -> None:
    unit.publish("m", 1)
    unit.publish("n", 1)
    unit.write(unit.entry("m"), unit.entry("n"))
    unit.reloader.start()
    unit.publish("m", 2, bad=True)
    unit.becomes("m", {1: "AVAILABLE", 2: "END"})
    assert unit.manager.status("m")[0].message == f"nothing to load in {unit.folder / 'm' / '2'}"
    unit.becomes("n", {1: "AVAILABLE"})


def test_a_file_that_cannot_be_read_changes_nothing(unit: Unit, capsys: pytest.CaptureFixture[str]) -> None:
    unit.publish("m", 1)
    unit.publish("m", 2)
    unit.write(unit.entry("m", Specific((1,))))
    unit.reloader.start()
    unit.file.write_text("model_config_list {")
    told: list[str] = []

    def refused() -> bool:
        told.append(capsys.readouterr().err)
        return "Failed to read ModelServerConfig file: INVALID_ARGUMENT: Invalid protobuf file" in "".join(told)

    # Nothing changes in the manager, so it is asked anew every moment.
    assert any(refused() or unit.manager.wait(lambda: False, 0.05) for _ in range(round(LIMIT_SECONDS / 0.05)))
    unit.becomes("m", {1: "AVAILABLE"})
    unit.write(unit.entry("m", Specific((2,))))
    unit.becomes("m", {1: "END", 2: "AVAILABLE"})


def test_the_same_file_again_loads_nothing_anew(unit: Unit) -> None:
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    for _ in range(3):
        unit.write(unit.entry("m"))
        unit.reloader.apply((unit.entry("m"),))
    assert unit.loads == [str(unit.folder / "m" / "1")]


@pytest.mark.parametrize("like_tfs", [False, True], ids=["own", "like-tfs"])
def test_a_reload_is_answered_before_what_it_drops_is_unloaded(
    like_tfs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Unit(tmp_path, like_tfs=like_tfs, polls=0)
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    monkeypatch.setattr(reload, "ANSWER_SECONDS", 3.0)
    unit.core.reload(())
    assert unit.manager.status("m")[0].state == "AVAILABLE"
    unit.becomes("m", {1: "END"})
    unit.close()


def test_what_is_no_configuration_is_told_once_until_the_file_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = Unit(tmp_path, like_tfs=False)
    unit.write()
    unit.reloader.start()
    unit.file.write_text("model_config_list {")
    said: list[str] = []

    def told() -> int:
        said.append(capsys.readouterr().err)
        return "".join(said).count("Error parsing text-format")

    wait("it is told", lambda: told() > 0, LIMIT_SECONDS)
    assert not unit.manager.wait(lambda: False, 4 * SCAN_SECONDS)
    assert told() == 1
    unit.reloader.stop()
    unit.manager.close()


def test_a_file_that_is_gone_changes_nothing_and_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = Unit(tmp_path, like_tfs=False)
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    unit.file.unlink()
    said: list[str] = []

    def told() -> int:
        said.append(capsys.readouterr().err)
        return "".join(said).count("Failed to read ModelServerConfig file: ")

    wait("it is told", lambda: told() > 0, LIMIT_SECONDS)
    assert f"{unit.file}; No such file or directory" in "".join(said)
    assert not unit.manager.wait(lambda: False, 4 * SCAN_SECONDS)
    assert told() == 1
    unit.becomes("m", {1: "AVAILABLE"})
    unit.write()
    unit.becomes("m", {1: "END"})
    unit.reloader.stop()
    unit.manager.close()


def test_a_refused_label_changes_nothing_and_a_moved_one_follows_in_a_second_file(unit: Unit) -> None:
    unit.publish("m", 1)
    unit.publish("m", 2)
    unit.write(unit.entry("m", Specific((1,))))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    with pytest.raises(Failed, match="Request to assign label to version 2 of model m"):
        unit.reloader.apply((unit.entry("m", Specific((1, 2)), stable=2),))
    unit.becomes("m", {1: "AVAILABLE"})
    unit.write(unit.entry("m", Specific((1, 2)), stable=1))
    unit.becomes("m", {1: "AVAILABLE", 2: "AVAILABLE"})
    assert unit.core.version_of("m", None, "stable") == 1
    unit.write(unit.entry("m", Specific((1, 2)), stable=2))
    wait("the label has moved", lambda: unit.core.version_of("m", None, "stable") == 2, LIMIT_SECONDS)


def test_a_model_whose_folder_is_away_holds_up_nobody_else(own: Unit) -> None:
    own.publish("m", 1)
    own.write(own.entry("m"), own.entry("away"))
    own.reloader.start()
    own.becomes("m", {1: "AVAILABLE"})
    own.publish("m", 2)
    own.becomes("m", {1: "END", 2: "AVAILABLE"})
    own.publish("away", 1)
    own.becomes("away", {1: "AVAILABLE"})


def test_a_path_that_no_folder_can_have_holds_up_nobody_else(own: Unit) -> None:
    own.publish("m", 1)
    own.write(own.entry("m"))
    own.reloader.start()
    with pytest.raises(Failed, match="Could not find base path /m\0x for servable none with error embedded null byte"):
        own.core.reload((ModelConfig("none", "/m\0x"), own.entry("m")))
    own.publish("m", 2)
    own.becomes("m", {1: "END", 2: "AVAILABLE"})


def test_whatever_a_look_at_the_folders_raises_there_is_a_next_one(
    unit: Unit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    errors, look = [ZeroDivisionError("boom")], source.versions_of

    def failing(model: ModelConfig) -> dict[int, str]:
        if errors:
            raise errors.pop()
        return look(model)

    monkeypatch.setattr(source, "versions_of", failing)
    wait("one has failed", lambda: not errors, LIMIT_SECONDS)
    unit.publish("m", 2)
    unit.becomes("m", {1: "END", 2: "AVAILABLE"})
    assert "ZeroDivisionError: boom" in capsys.readouterr().err


def test_a_file_is_read_again_after_whatever_came_between(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    unit.publish("m", 1)
    unit.write()
    unit.reloader.start()
    errors, read = [ZeroDivisionError("boom")], config.read

    def failing(file: str, **given: Any) -> tuple[ModelConfig, ...]:
        if errors:
            raise errors.pop()
        return read(file, **given)

    monkeypatch.setattr(config, "read", failing)
    unit.write(unit.entry("m"))
    unit.becomes("m", {1: "AVAILABLE"})


def test_a_look_at_folders_that_are_as_they_were_waits_for_nobody(tmp_path: Path) -> None:
    unit = Unit(tmp_path, like_tfs=False, polls=0, scans=0, keep_missing=True, retry_failed_seconds=3600)
    names = [f"m{number}" for number in range(30)]
    for name in names:
        unit.publish(name, 1)
    unit.write(*(unit.entry(name, Specific((1,))) for name in names[1:]), unit.entry(names[0]))
    unit.reloader.start()
    unit.reloader.first_loads()

    def look_and_retry() -> None:
        unit.reloader._scan()
        unit.manager.retry_failed(3600)

    look = threading.Thread(target=look_and_retry)
    with unit.manager._changed:
        look.start()
        look.join(LIMIT_SECONDS)
        assert not look.is_alive()
    unit.close()


@pytest.mark.parametrize(
    ("interval", "took", "seconds"),
    [(1, 0.0, 0.25), (1, 0.01, 0.5), (1, 0.5, 1.0), (5, 0.0, 5), (0, 0.0, 0), (-1, 0.0, 0)],
)
def test_folders_are_looked_at_soon_where_that_is_cheap(interval: int, took: float, seconds: float) -> None:
    assert reload.between_scans(interval, took) == seconds


def test_a_failed_version_is_no_reason_not_to_start(own: Unit) -> None:
    own.publish("m", 1, bad=True)
    own.write(own.entry("m"))
    own.reloader.start()
    own.becomes("m", {1: "END"})


def test_the_first_loads_are_those_of_every_version(own: Unit) -> None:
    for version in (1, 2, 3):
        own.publish("m", version)
    own.write(own.entry("m", All()))
    own.reloader.start()
    own.reloader.first_loads()
    assert {row.state for row in own.manager.status("m")} == {"AVAILABLE"}


def test_like_the_original_the_start_lasts_until_every_version_is_there(like_tfs: Unit) -> None:
    for version in (1, 2, 3):
        like_tfs.publish("m", version)
    like_tfs.write(like_tfs.entry("m", All()))
    like_tfs.reloader.start()
    assert [(row.version, row.state) for row in like_tfs.manager.status("m")] == [
        (3, "AVAILABLE"), (2, "AVAILABLE"), (1, "AVAILABLE"),
    ]  # fmt: skip


def test_like_the_original_the_one_look_at_the_folders_waits_for_the_first_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Unit(tmp_path, like_tfs=True, polls=0, scans=0)
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    apply = unit.reloader.apply

    def late(models: tuple[ModelConfig, ...], *, first: bool) -> set[str]:
        # As on a machine that has no time for it; a look that does not wait is over by then.
        unit.manager.wait(lambda: False, 0.3)
        return apply(models, first=first)

    monkeypatch.setattr(unit.reloader, "apply", late)
    starting = threading.Thread(target=unit.reloader.start, daemon=True)
    starting.start()
    unit.becomes("m", {1: "AVAILABLE"})
    starting.join(LIMIT_SECONDS)
    unit.close()


def test_like_the_original_a_failed_version_ends_the_start(like_tfs: Unit) -> None:
    like_tfs.publish("m", 1, bad=True)
    like_tfs.publish("n", 1)
    like_tfs.write(like_tfs.entry("m"), like_tfs.entry("n"))
    with pytest.raises(Failed) as raised:
        like_tfs.reloader.start()
    assert (raised.value.code, raised.value.message) == (
        "UNKNOWN",
        "1 servable(s) did not become available: {{{name: m version: 1} due to error: NOT_FOUND: "
        f"nothing to load in {like_tfs.folder / 'm' / '1'}}}, }}",
    )


def test_like_the_original_an_emptied_folder_unloads(like_tfs: Unit) -> None:
    like_tfs.publish("m", 1)
    like_tfs.write(like_tfs.entry("m"))
    like_tfs.reloader.start()
    (like_tfs.folder / "m" / "1").rename(like_tfs.folder / "elsewhere")
    like_tfs.becomes("m", {1: "END"})


def test_like_the_original_one_folder_that_is_away_holds_up_all(like_tfs: Unit) -> None:
    like_tfs.publish("m", 1)
    like_tfs.publish("n", 1)
    like_tfs.write(like_tfs.entry("m"), like_tfs.entry("n"))
    like_tfs.reloader.start()
    (like_tfs.folder / "n").rename(like_tfs.folder / "elsewhere")
    like_tfs.publish("m", 2)
    like_tfs.reloader._scan()
    like_tfs.becomes("m", {1: "AVAILABLE"})
    (like_tfs.folder / "elsewhere").rename(like_tfs.folder / "n")
    like_tfs.becomes("m", {1: "END", 2: "AVAILABLE"})


def test_like_the_original_a_new_model_without_a_folder_holds_up_every_later_reload(like_tfs: Unit) -> None:
    like_tfs.publish("m", 1)
    like_tfs.write(like_tfs.entry("m"))
    like_tfs.reloader.start()
    done: list[str] = []

    def reload(name: str, *models: ModelConfig) -> None:
        like_tfs.reloader.apply(models)
        done.append(name)

    first = threading.Thread(target=reload, args=("first", like_tfs.entry("m"), like_tfs.entry("n")))
    second = threading.Thread(target=reload, args=("second", like_tfs.entry("m")))
    first.start()
    # Its lock alone says nothing: a poll of the file takes it, too.
    wait("the first is at it", lambda: len(like_tfs.reloader._models) == 2, LIMIT_SECONDS)
    second.start()
    second.join(0.3)
    assert done == []
    like_tfs.publish("n", 1)
    first.join(LIMIT_SECONDS)
    second.join(LIMIT_SECONDS)
    assert done == ["first", "second"]


def test_like_the_original_what_a_reload_drops_while_folders_are_looked_at_is_not_wanted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "ANSWER_SECONDS", 0.0)
    unit = Unit(tmp_path, like_tfs=True, polls=0, scans=0)
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    looks, goes_on, found = threading.Event(), threading.Event(), source.scan

    def slow(models: tuple[ModelConfig, ...]) -> dict[str, dict[int, str]]:
        looks.set()
        assert goes_on.wait(LIMIT_SECONDS)
        return found(models)

    monkeypatch.setattr(source, "scan", slow)
    look = threading.Thread(target=unit.reloader._scan)
    look.start()
    assert looks.wait(LIMIT_SECONDS)
    unit.core.reload(())
    unit.manager.wait(lambda: unit.manager.status("m")[0].state == "END", 0.3)
    goes_on.set()
    look.join(LIMIT_SECONDS)
    unit.becomes("m", {1: "END"})
    assert unit.manager.models() == set()
    unit.close()


def test_like_the_original_after_a_model_without_a_platform_nothing_is_applied_any_more(like_tfs: Unit) -> None:
    assert refusals(like_tfs) == [NO_PLATFORM, NO_PLATFORM]


def test_after_a_model_without_a_platform_the_next_configuration_is_applied(own: Unit) -> None:
    assert refusals(own) == [NO_PLATFORM, ""]


NO_PLATFORM = (
    "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
    "model name is c"
)


def refusals(unit: Unit) -> list[str]:
    """What is said of a configuration with a model that has no platform, and then of a good one."""
    told = []
    for entry in ('name: "c" base_path: "/c"', 'name: "m" base_path: "/m" model_platform: "tensorflow"'):
        message = text_format.Parse(f"model_config_list {{ config {{ {entry} }} }}", ModelServerConfig())
        try:
            unit.core.judged(partial(from_message, message))
            told.append("")
        except Failed as failed:
            told.append(failed.message)
    return told


def test_a_new_model_that_fails_is_what_the_reload_rpc_answers(own: Unit) -> None:
    own.publish("m", 1)
    own.publish("worse", 1, bad=True)
    own.write(own.entry("m"))
    own.reloader.start()
    with pytest.raises(Failed) as raised:
        own.core.reload((own.entry("m"), own.entry("worse"), own.entry("gone")))
    assert raised.value.code == "UNKNOWN"
    assert raised.value.message == (
        "2 model(s) did not become available: {{{name: worse version: 1} due to error: NOT_FOUND: nothing to load in "
        f"{own.folder / 'worse' / '1'}}}, {{{{name: gone}} due to error: NOT_FOUND: Could not find base path "
        f"{own.folder / 'gone'} for servable gone with error No such file or directory}}, }}"
    )
    own.becomes("m", {1: "AVAILABLE"})
    own.publish("gone", 1)
    own.becomes("gone", {1: "AVAILABLE"})


def test_the_reload_rpc_waits_for_new_models_alone(own: Unit) -> None:
    own.publish("m", 1)
    own.publish("n", 3)
    own.write(own.entry("m"))
    own.reloader.start()
    own.core.reload((own.entry("m"), own.entry("n")))
    assert [row.state for row in own.manager.status("n")] == ["AVAILABLE"]


def test_the_reload_rpc_does_not_wait_for_a_model_that_another_one_drops(tmp_path: Path) -> None:
    unit = Unit(tmp_path, like_tfs=False, retry_seconds=LIMIT_SECONDS)
    unit.publish("m", 1)
    unit.publish("worse", 1, bad=True)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    waiting = threading.Thread(target=unit.core.reload, args=((unit.entry("m"), unit.entry("worse")),))
    waiting.start()
    assert unit.manager.wait(lambda: bool(unit.loads) and "worse" in unit.loads[-1], LIMIT_SECONDS)
    unit.core.reload((unit.entry("m"),))
    waiting.join(LIMIT_SECONDS / 2)
    assert not waiting.is_alive()
    unit.close()


def test_a_reload_that_another_one_undoes_at_once_is_no_failure(own: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    own.publish("m", 1)
    own.write()
    own.reloader.start()
    apply = own.reloader.apply

    def undone(models: tuple[ModelConfig, ...], *, only_new: bool) -> set[str]:
        new = apply(models, only_new=only_new)
        apply(())
        return new

    monkeypatch.setattr(own.reloader, "apply", undone)
    own.core.reload((own.entry("m"),))
    assert own.manager.aspired("m") == frozenset()


def test_a_file_that_nobody_asked_to_read_again_is_read_once(tmp_path: Path) -> None:
    unit = Unit(tmp_path, like_tfs=False, polls=0, scans=0.1)
    unit.publish("m", 1)
    unit.publish("m", 2)
    unit.write(unit.entry("m", Specific((1,))))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    unit.write(unit.entry("m", Specific((2,))))
    unit.publish("m", 3)
    unit.core.reload((unit.entry("m", Latest(2)),))
    unit.becomes("m", {1: "END", 2: "AVAILABLE", 3: "AVAILABLE"})
    unit.publish("m", 4)
    unit.becomes("m", {1: "END", 2: "END", 3: "AVAILABLE", 4: "AVAILABLE"})
    unit.close()


def test_folders_that_nobody_asked_to_scan_again_are_scanned_with_each_configuration(tmp_path: Path) -> None:
    unit = Unit(tmp_path, like_tfs=False, polls=0, scans=0)
    unit.publish("m", 1)
    unit.publish("n", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    unit.publish("m", 2)
    unit.core.reload((unit.entry("m"), unit.entry("n")))
    unit.becomes("n", {1: "AVAILABLE"})
    unit.becomes("m", {1: "END", 2: "AVAILABLE"})
    unit.close()


def test_folders_that_are_never_to_be_looked_at_are_not_at_a_reload_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "ANSWER_SECONDS", 0.0)
    unit = Unit(tmp_path, like_tfs=False, polls=0, scans=-1)
    unit.publish("m", 1)
    unit.write()
    unit.reloader.start()
    with pytest.raises(Failed, match="NOT_FOUND: No folder is looked at: --file_system_poll_wait_seconds is below 0"):
        unit.core.reload((unit.entry("m"),))
    assert not unit.manager.wait(lambda: bool(unit.loads), 0.2)
    unit.close()


def test_a_model_that_comes_back_is_waited_for_as_a_new_one(own: Unit) -> None:
    own.publish("m", 1)
    own.publish("n", 1)
    own.write(own.entry("m"), own.entry("n"))
    own.reloader.start()
    own.becomes("n", {1: "AVAILABLE"})
    own.core.reload((own.entry("m"),))
    own.becomes("n", {1: "END"})
    own.core.reload((own.entry("m"), own.entry("n")))
    assert [row.state for row in own.manager.status("n")] == ["AVAILABLE"]
