"""Artefacts in a folder under version control: what is ours there is replaced or removed, the rest left alone."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.files import replace_file


@dataclass(frozen=True, slots=True)
class Written:
    """What was done to a folder: how many files it holds of ours, how many of them changed, how many went."""

    files: int
    changed: int
    removed: int


def write_artefacts(
    folder: Path,
    artefacts: Mapping[str, str],
    *,
    marker: str | None = None,
    patterns: Iterable[str] = (),
    others: str = "",
    mounted: str = "",
) -> Written:
    """Make a folder hold the artefacts.

    Args:
        folder: made if it is not there.
        artefacts: path below it -> text.
        marker: what the first line of a file of ours is, where the artefact itself has it; without it every file is
            taken for ours, and none is removed.
        patterns: where an earlier call may have left files, as globs below the folder.
        others: a glob of files of ours which show that the folder holds several fleets; empty: it may.
        mounted: the name of a folder whose files everybody is to read, whatever the umask; empty: there is none.

    Returns:
        What was done. Files that are as they should be are not touched.

    Raises:
        UsageError: a file is in the way that is not ours, or several fleets are there; nothing was written.
        TfsdeployError: the folder cannot be read or written.
    """
    try:
        if marker and others:
            _refuse_to_cover(folder, others, marker)
        before = {path: _text(folder / path) for path in artefacts} if folder.exists() else dict.fromkeys(artefacts)
        signed = [path for path, text in artefacts.items() if marker and text.startswith(marker)]
        foreign = sorted(path for path in signed if marker and (text := before[path]) and not text.startswith(marker))
        if foreign:
            raise UsageError(
                "a file is in the way that tfsdeploy has not written",
                where=str(folder / foreign[0]),
                hint="render into a folder of its own, or remove the file",
            )
        changed = [path for path, text in artefacts.items() if before[path] != text]
        for parent in {(folder / path).parent for path in changed}:
            parent.mkdir(parents=True, exist_ok=True)
        for path in changed:
            replace_file(folder / path, artefacts[path], lasting=False)
        for file in (folder / path for path in artefacts):
            if mounted and file.parent.name == mounted:
                _let_all_read(file)
        left = sorted(_left_over(folder, artefacts, marker, patterns)) if marker else []
        for file in left:
            file.unlink()
            _remove_empty(file.parent, folder)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        where = getattr(error, "filename", None) or folder
        raise TfsdeployError(f"cannot be written: {reason}", where=str(where)) from error
    return Written(len(artefacts), len(changed), len(left))


def _let_all_read(file: Path) -> None:
    for path, wanted in ((file.parent, 0o555), (file, 0o444)):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode | wanted != mode:
            path.chmod(mode | wanted)


def _refuse_to_cover(folder: Path, others: str, marker: str) -> None:
    homes = sorted(file.parent for file in folder.glob(others) if _is_ours(file, marker))
    if homes:
        raise UsageError(
            f"several fleets were rendered here, such as {homes[0].relative_to(folder)}; "
            "one alone would take the others out of its kustomization",
            where=str(folder),
            hint=f"render all of them in one call, or this one into the folder that is its own, as {homes[0]}",
        )


def _text(file: Path) -> str | None:
    """What a file holds, byte for byte; None if it is not there."""
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _is_ours(file: Path, marker: str) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(marker.encode())) == marker.encode()


def _left_over(folder: Path, artefacts: Mapping[str, str], marker: str, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        for file in folder.glob(pattern):
            if str(file.relative_to(folder)) in artefacts or file.is_symlink() or not file.is_file():
                continue
            if _is_ours(file, marker):
                yield file


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
