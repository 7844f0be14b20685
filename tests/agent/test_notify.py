"""Changes in a folder are heard of, whatever became of the folder meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tfsdeploy.agent.notify import FolderNews


def heard(news: FolderNews, change: Callable[[], object]) -> None:
    """A change ends a wait that would otherwise last for an hour."""

    async def both() -> None:
        waits = asyncio.ensure_future(news.wait(3600))
        await asyncio.sleep(0)
        change()
        await asyncio.wait_for(waits, 60)

    asyncio.run(both())


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is made": lambda folder: (folder / "new").touch(),
    "a file is written": lambda folder: (folder / "file").write_text("more"),
    "a file is renamed into place": lambda folder: os.replace(folder / "other", folder / "file"),
    "a file leaves": lambda folder: (folder / "file").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_heard(tmp_path: Path, name: str) -> None:
    for file in ("file", "other"):
        (tmp_path / file).write_text(file)
    with closing(FolderNews(tmp_path)) as news:
        assert news.look()
        heard(news, lambda: CHANGES[name](tmp_path))
        assert news.look()
        heard(news, lambda: (tmp_path / "again").touch())


def test_what_happens_between_a_look_and_a_wait_is_not_slept_through(tmp_path: Path) -> None:
    with closing(FolderNews(tmp_path)) as news:
        assert news.look()
        (tmp_path / "new").touch()
        heard(news, lambda: None)


def test_a_folder_that_is_not_there_yet_is_to_be_looked_for(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    with closing(FolderNews(folder)) as news:
        assert not news.look()
        folder.mkdir()
        assert news.look()
        heard(news, lambda: (folder / "new").touch())


def test_a_folder_in_the_place_of_another_is_heard(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with closing(FolderNews(folder)) as news:
        assert news.look()
        os.rename(folder, tmp_path / "old")
        folder.mkdir()
        assert news.look()
        heard(news, lambda: (folder / "new").touch())
