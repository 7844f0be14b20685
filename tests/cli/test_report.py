"""What is told while a command works: in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from tfsdeploy.cli import report
from tfsdeploy.cli.report import TerminalReport


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (0, 0, "100%  0 of 0 B"),
        (1, 4, " 25%  1 of 4 B"),
        (1_400_000, 2_800_000, " 50%  1 of 3 MB"),
        (1_250_000_000, 2_500_000_000, " 50%  1.2 of 2.5 GB"),
    ],
)
def test_a_bar_tells_bytes(done: int, total: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        TerminalReport().progress("ranker", done, total)
    seen = os.read(ours, 1000).decode()
    os.close(ours)
    assert shown in seen


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PLAIN_SECONDS", 3600.0)
    silent = TerminalReport()
    silent.progress("ranker", 5000, 10_000)
    assert capsys.readouterr().err == "", "not before the first second is over"
    monkeypatch.setattr(report, "PLAIN_SECONDS", -1.0)
    silent.progress("ranker", 6000, 10_000)
    assert capsys.readouterr().err == "ranker: 6 of 10 kB (60%)\n"
