"""A fleet's state in its volume: read as files of a container, written by a command that runs in one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tfsdeploy.agent.state import identity, packed
from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.history import Entry, decode_entry, newest_first
from tfsdeploy.release.model import InvalidRelease, Release, decode, encode
from tfsdeploy.render.docker.containers import STATE
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.docker.engine import Engine
from tfsdeploy.targets.settings import FILE, settings_from_text, settings_to_text

BUSY_EXIT = Busy.exit_code


class StateVolume:
    """The release, its history, the pins and the settings of one fleet.

    Args:
        engine: where the fleet lives.
        fleet_name: the fleet.
    """

    def __init__(self, engine: Engine, fleet_name: str) -> None:
        self._engine = engine
        self._fleet = fleet_name

    def read(self) -> Release | None:
        """The present generation; None before the first.

        Raises:
            InvalidRelease: the document is nonsense.
        """
        text = self._file("release.json")
        try:
            return None if text is None else decode(text)
        except InvalidRelease as error:
            raise InvalidRelease(error.message, where=self._where("release.json")) from error

    def swap(self, new: Release, expected: Release | None) -> None:
        """Write ``new`` if the document is still ``expected``.

        Raises:
            Conflict: somebody else wrote meanwhile; nothing was written.
            TfsdeployError: no container of the fleet runs, or the disk refuses; the present generation stands.
        """
        code, said = self._run("swap", f"--expected={identity(expected)}", *packed(encode(new)))
        if code == BUSY_EXIT:
            raise Conflict(_first(said), where=self._where("release.json"))
        if code:
            raise TfsdeployError(f"{_first(said)}; the fleet stays as it was", where=self._where("release.json"))

    def history(self) -> list[Entry]:
        """What changed, newest first; starts with the present generation."""
        present = self.read()
        return [] if present is None else newest_first(present, self._older())

    def pins(self) -> Pins | None:
        """The pins that were last handed over.

        Raises:
            TfsdeployError: nonsense.
        """
        text = self._file("pins.json")
        try:
            return None if text is None else Pins.from_json(json.loads(text))
        except ValueError as error:
            raise TfsdeployError(f"the pins cannot be read: {error}", where=self._where("pins.json")) from error

    def write_pins(self, pins: Pins) -> None:
        """Hand pins over."""
        self._write("pins.json", json.dumps(pins.to_json()) + "\n")

    def settings(self) -> Settings | None:
        """What `up` last applied; None if there is none.

        Raises:
            TfsdeployError: nonsense.
        """
        text = self._file(FILE)
        try:
            return None if text is None else settings_from_text(text.decode())
        except ValueError as error:
            hint = "`tfsdeploy up` writes it anew; what runs goes on meanwhile"
            raise TfsdeployError(f"not what `up` has written: {error}", where=self._where(FILE), hint=hint) from error

    def write_settings(self, settings: Settings) -> None:
        """Remember what is applied."""
        self._write(FILE, settings_to_text(settings))

    def forget(self, replicas: Sequence[str]) -> None:
        """Let gateways no longer look for replicas that are gone."""
        self._checked("forget", *replicas)

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """The lock on the fleet's shape, until the block ends or this process does.

        Raises:
            Busy: somebody else has it.
        """
        keeper = self._keeper(running=True)
        argv = ("tfsdeploy", "agent", "state", "hold", f"--folder={STATE}", f"--who={who}")
        with self._engine.opened(keeper, argv) as line:
            said = _read_some(line)
            if "held" not in said:
                raise Busy(_first(said), hint="run this again when it is done")
            yield

    def _older(self) -> Iterator[Entry]:
        keeper = self._keeper(running=False)
        for text in self._engine.files(keeper, f"{STATE}/history").values() if keeper else ():
            try:
                yield decode_entry(text)
            except InvalidRelease:
                continue

    def _file(self, name: str) -> bytes | None:
        keeper = self._keeper(running=False)
        return self._engine.files(keeper, f"{STATE}/{name}").get(name) if keeper else None

    def _write(self, name: str, text: str) -> None:
        self._checked("write", name, *packed(text))

    def _checked(self, word: str, *words: str) -> None:
        code, said = self._run(word, *words)
        if code:
            raise TfsdeployError(f"the fleet's state cannot be written: {_first(said)}", where=self._where(""))

    def _run(self, word: str, *words: str) -> tuple[int, str]:
        argv = ("tfsdeploy", "agent", "state", word, f"--folder={STATE}", *words)
        return self._engine.run(self._keeper(running=True), argv)

    def _keeper(self, *, running: bool) -> str:
        """A container that has the volume: the keeper, or any agent; empty if there is none.

        Raises:
            TfsdeployError: one that runs is needed, and none does.
        """
        there = [seen for seen in self._engine.observed(self._fleet) if seen.part in ("state", "agent")]
        # The keeper first, what runs before what does not.
        best = sorted(there, key=lambda seen: (seen.state != "running", seen.part != "state"))
        if running and not (best and best[0].state == "running"):
            raise TfsdeployError(
                f"no container of fleet {self._fleet} runs, so its state cannot be written",
                hint="`tfsdeploy up` starts them",
            )
        return best[0].name if best else ""

    def _where(self, name: str) -> str:
        return f"volume of {self._fleet}: {name}"


def _read_some(line: Any) -> str:
    """The first thing that a command says: one frame of the engine's stream is 8 bytes of head and the text."""
    found = b""
    while b"\n" not in found[8:]:
        more = line.recv(4096)
        if not more:
            break
        found += more
    return found[8:].decode(errors="replace")


def _first(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[0].removeprefix("error: ").strip() if lines else "no words"
