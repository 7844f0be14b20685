"""The agent's own folder: what the model server is told, what is remembered, and the last good release."""

from __future__ import annotations

import logging
from pathlib import Path

from tfsdeploy.agent.replica import memory as kept
from tfsdeploy.agent.replica.memory import Memory
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.protocol.model_config import ModelConfig, Specific, render
from tfsdeploy.release.model import InvalidRelease, Release, decode, encode
from tfsdeploy.store.store import FileStore

log = logging.getLogger(__name__)

MODELS = "models.config"
MEMORY = "state.json"
LAST_GOOD = "release.json"


class Folder:
    """Reads and writes; what cannot be written is logged and tried again at the next moment.

    Args:
        path: the folder.
        store: where the models are.
    """

    def __init__(self, path: Path, store: FileStore) -> None:
        self._path = path
        self._store = store
        self._memory: Memory | None = None
        self._models: str | None = None

    def prepare(self) -> Memory | None:
        """Make the folder; returns what an agent before this one remembered, None if there was none.

        Raises:
            TfsdeployError: it cannot be made.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TfsdeployError(f"the folder cannot be made: {error.strerror}", where=str(self._path)) from error
        return kept.read(self._path / MEMORY)

    @property
    def configured(self) -> bool:
        """Whether this agent has written ``models.config``."""
        return self._models is not None

    def write(self, memory: Memory) -> None:
        """Remember first, then tell the server: a crash in between is repeated, not forgotten."""
        if memory != self._memory:
            try:
                kept.write(self._path / MEMORY, memory)
            except OSError as error:
                log.error("what is remembered cannot be written, and is tried again: %s", error)
                return
            self._memory = memory
        listed = memory.by_model()
        text = render([ModelConfig(m, str(self._store.model_path(m)), Specific(v)) for m, v in listed.items()])
        if text == self._models:
            return
        try:
            replace_file(self._path / MODELS, text)
        except OSError as error:
            log.error("%s cannot be written, and is tried again: %s", MODELS, error)
            return
        self._models = text
        log.info("the model server is to hold %s", {model: list(versions) for model, versions in listed.items()})

    def keep_release(self, release: Release) -> None:
        """Keep the last good release, to start from it when its source is away."""
        try:
            replace_file(self._path / LAST_GOOD, encode(release))
        except OSError as error:
            log.error("the last good release cannot be written: %s", error)

    def last_good_release(self) -> Release | None:
        """The release that was kept; None if there is none."""
        try:
            return decode((self._path / LAST_GOOD).read_bytes())
        except (OSError, InvalidRelease):
            return None
