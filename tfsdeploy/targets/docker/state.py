"""A fleet's state in its volume, read and written by a command that runs in one of the fleet's containers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tfsdeploy.agent.state import HELD, identity
from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.history import Entry, decode_entry, newest_first
from tfsdeploy.release.model import InvalidRelease, Release, decode, encode
from tfsdeploy.render.containers import RUN
from tfsdeploy.render.docker.container import STATE, keeper_name, state_volume
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.docker.engine import Engine, NotRunning
from tfsdeploy.targets.docker.frames import Frames
from tfsdeploy.targets.docker.talk import SILENT_SECONDS, Denied, Ended, Talk
from tfsdeploy.targets.settings import FILE, settings_from_text, settings_to_text


class NobodyRuns(TfsdeployError):
    """No container of the fleet runs, through which its state could be written."""


class StateVolume:
    """The release, its history, the pins and the settings of one fleet.

    Args:
        engine: where the fleet lives.
        fleet_name: the fleet.
    """

    def __init__(self, engine: Engine, fleet_name: str) -> None:
        self._engine = engine
        self._fleet = fleet_name
        self._lock = threading.Lock()
        self._talk: Talk | None = None

    def read(self) -> Release | None:
        """The present generation; None before the first.

        Raises:
            InvalidRelease: the document is nonsense.
        """
        text = self._file("release.json")
        try:
            return None if text is None else decode(text)
        except InvalidRelease as error:
            hint = error.hint or (
                "the agents serve on with the last good one, of which each replica keeps a copy: docker exec "
                f"{self._fleet}-serving-1-agent cp {RUN}/release.json {STATE}/release.json"
            )
            raise InvalidRelease(error.message, where=self._where("release.json"), hint=hint) from error

    def swap(self, new: Release, expected: Release | None) -> None:
        """Write ``new`` if the document is still ``expected``.

        Raises:
            Conflict: somebody else wrote meanwhile; nothing was written.
            TfsdeployError: no container of the fleet runs, or the disk refuses; the present generation stands.
        """
        request = {"do": "swap", "expected": identity(expected), "document": encode(new)}
        try:
            try:
                self._asked(request)
            except Ended:
                # It may have been written before the container was stopped.
                if self.read() != new:
                    self._ask(request)
        except Denied as error:
            kind = Conflict if error.exit_code == Busy.exit_code else TfsdeployError
            stands = "" if kind is Conflict else "; the fleet stays as it was"
            raise kind(error.message + stands, where=self._where("release.json")) from error

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
            hint = "`tfsdeploy up` writes them anew"
            raise TfsdeployError(
                f"the pins cannot be read: {error}", where=self._where("pins.json"), hint=hint
            ) from error

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
            return None if text is None else settings_from_text(text)
        except ValueError as error:
            hint = "`tfsdeploy up` writes it anew; what runs goes on meanwhile"
            raise TfsdeployError(f"not what `up` has written: {error}", where=self._where(FILE), hint=hint) from error

    def write_settings(self, settings: Settings) -> None:
        """Remember what is applied."""
        self._write(FILE, settings_to_text(settings))

    def hand_over(self, files: Mapping[str, bytes]) -> bool:
        """Let replica agents have what opens the store; whether that is other than what they had.

        Args:
            files: see `tfsdeploy.store.handed`; what is not among them stays as it is.
        """
        changed: bool = self._ask({"do": "hand over", "files": {name: text.decode() for name, text in files.items()}})
        return changed

    def forget(self, replicas: Sequence[str]) -> None:
        """Let gateways no longer look for replicas that are gone."""
        self._ask({"do": "forget", "names": list(replicas)})

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """The lock on the fleet's shape, until the block ends or this process does.

        Raises:
            Busy: somebody else has it.
        """
        keeper = self._keeper(running=True)
        argv = ("tfsdeploy", "agent", "state", "hold", f"--folder={STATE}", f"--who={who}")
        with self._engine.opened(keeper, argv, SILENT_SECONDS) as raw:
            frames = Frames(raw)
            try:
                line = frames.line()
            except OSError as error:
                raise TfsdeployError(f"the fleet's state cannot be reached: {error}", where=self._where("")) from error
            if line != b"held":
                said = _first(frames.errors.decode(errors="replace") or line.decode(errors="replace"))
                if HELD in said:
                    raise Busy(said, hint="run this again when it is done")
                hint = "`docker system df` shows what takes the engine's disk, `docker logs` what the container says"
                raise TfsdeployError(f"the fleet's state cannot be locked: {said}", where=keeper, hint=hint)
            yield

    def _older(self) -> Iterator[Entry]:
        for text in self._ask({"do": "history"}):
            try:
                yield decode_entry(text)
            except InvalidRelease:
                continue

    def _file(self, name: str) -> str | None:
        """What a file holds; None if it is not there, or no container that runs could tell."""
        try:
            text: str | None = self._ask({"do": "read", "name": name})
            return text
        except NobodyRuns:
            keeper = self._keeper(running=False)
            content = self._engine.files(keeper, f"{STATE}/{name}").get(name) if keeper else None
            return None if content is None else content.decode(errors="replace")

    def _write(self, name: str, text: str) -> None:
        try:
            self._ask({"do": "write", "name": name, "text": text})
        except Denied as error:
            said = f"the fleet's state cannot be written: {error.message}"
            hint = "`docker system df` shows what takes the engine's disk"
            raise TfsdeployError(said, where=self._where(name), hint=hint) from error

    def _ask(self, request: dict[str, Any]) -> Any:
        """The result of a request that may be made twice: if a container is stopped, another one is asked."""
        try:
            return self._asked(request)
        except Ended:
            try:
                return self._asked(request)
            except Ended as error:
                said = f"the fleet's state cannot be reached: {_first(str(error))}"
                raise TfsdeployError(said, where=self._where("")) from error

    def _asked(self, request: dict[str, Any]) -> Any:
        with self._lock:
            talk = self._talk = self._talk or self._opened()
        try:
            return talk.ask(request)
        except Ended:
            with self._lock:
                if self._talk is talk:
                    self._talk = None
            talk.close()
            raise

    def _opened(self) -> Talk:
        try:
            # Nearly always it is there and runs, and need not be looked for.
            return Talk(self._engine, keeper_name(self._fleet))
        except NotRunning:
            return Talk(self._engine, self._keeper(running=True))

    def _keeper(self, *, running: bool) -> str:
        """A container that has the volume: the keeper, or any agent; empty if there is none.

        Raises:
            NobodyRuns: one that runs is needed, and none does.
        """
        there = [seen for seen in self._engine.observed(self._fleet) if seen.part in ("state", "agent")]
        # The keeper first, what runs before what does not.
        best = sorted(there, key=lambda seen: (seen.state != "running", seen.part != "state"))
        if running and not (best and best[0].state == "running"):
            raise NobodyRuns(
                f"no container of fleet {self._fleet} runs, so its state cannot be written",
                hint="`tfsdeploy up` starts them",
            )
        return best[0].name if best else ""

    def _where(self, name: str) -> str:
        return f"{state_volume(self._fleet)}/{name}"


def _first(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[0].removeprefix("error: ").strip() if lines else "no words"
