"""The release document in a folder: compare-and-swap by a lock and an atomic rename, history beside it.

release.json        the present generation
release.lock        held (flock) while a swap compares, writes and renames
history/N.json      the change that made generation N, written before N is superseded
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.release.conflict import check_expected
from tfsdeploy.release.history import (
    HISTORY_KEPT,
    Entry,
    decode_entry,
    encode_entry,
    newest_first,
    present_entry,
    worth_keeping,
)
from tfsdeploy.release.model import InvalidRelease, Release, decode, encode


class ReleaseFolder:
    """The release document of a fleet whose state is a folder (local and Docker targets).

    Args:
        folder: the fleet's state folder; made if it is not there at the first write.
        kept: how many history entries are kept beside the present one.
    """

    def __init__(self, folder: Path, *, kept: int = HISTORY_KEPT) -> None:
        self._folder = folder
        self._kept = kept

    @property
    def document(self) -> Path:
        """The document itself, which agents watch."""
        return self._folder / "release.json"

    def read(self) -> Release | None:
        """The present generation; None before the first.

        Raises:
            InvalidRelease: the document is nonsense.
        """
        try:
            return decode(self.document.read_bytes())
        except FileNotFoundError:
            return None
        except InvalidRelease as error:
            hint = (
                "the agents serve on with the last good one; each replica keeps a copy in the fleet's state folder, "
                "replicas/NAME/agent/release.json, that can be put in its place"
            )
            raise InvalidRelease(error.message, where=str(self.document), hint=error.hint or hint) from error

    def swap(self, new: Release, expected: Release | None) -> None:
        """Write ``new`` if the document is still ``expected``; what is on disk is whole at every moment.

        Raises:
            Conflict: somebody else wrote meanwhile; nothing was written.
            TfsdeployError: the disk is full or refuses; the present generation stands.
        """
        text = encode(new)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                present = self.read()
                check_expected(present, expected, str(self.document))
                if present is not None:
                    self._keep_history(present)
                replace_file(self.document, text)
        except OSError as error:
            raise TfsdeployError(
                f"the release document cannot be written: {error.strerror}; the fleet stays as it was",
                where=str(error.filename or self.document),
            ) from error

    def history(self) -> list[Entry]:
        """What changed, newest first; starts with the present generation."""
        present = self.read()
        return [] if present is None else newest_first(present, self._older())

    def _older(self) -> Iterator[Entry]:
        for file in (self._folder / "history").glob("*.json"):
            # A command that writes a generation meanwhile lets go of the oldest one.
            with suppress(FileNotFoundError, InvalidRelease):
                yield decode_entry(file.read_bytes())

    def _keep_history(self, present: Release) -> None:
        folder = self._folder / "history"
        folder.mkdir(exist_ok=True)
        entry = present_entry(present)
        replace_file(folder / entry.file_name, encode_entry(entry))
        names = [file.name for file in folder.glob("*.json")]
        if len(names) > self._kept:
            texts = {name: (folder / name).read_bytes() for name in names}
            for name in worth_keeping(texts, present.uid)[self._kept :]:
                (folder / name).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._folder / "release.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
