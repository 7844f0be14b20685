"""What can go wrong, and the exit code that each kind of failure has.

    TfsdeployError              1  failed: what was tried, what state it left, what to do
    ├── UsageError              2  wrong usage, an unknown model, nobody to ask
    │   └── InvalidFile         2  a fleet file (or another input file) with all its problems
    ├── ChangesPending          3  `diff` found something to do
    ├── Refused                 4  promote or rollback refused or taken back; traffic is as it was
    ├── Busy                    5  somebody else has it: the model is being changed, the number is taken
    └── Interrupted           130  Ctrl-C; says how to continue or abort

Errors are raised with words for the reader; only `tfsdeploy.cli` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class TfsdeployError(Exception):
    """A failure that is shown to the user in one line, without a traceback.

    Args:
        message: what failed and why, in one sentence without a full stop at the end.
        where: the place: ``file:line:column``, an object, a replica; empty if there is none.
        hint: what to do about it; empty if there is nothing to say.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


class UsageError(TfsdeployError):
    """The command was called wrongly, or names a model or version that is not there."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file.

    Attributes:
        line: 1-based line; 0 when the problem belongs to the whole file.
        column: 1-based column; 0 when the problem belongs to the whole file.
        path: dotted path inside the document, such as ``models.ranker.version``; may be empty.
        message: what was found and what would be right.
    """

    line: int
    column: int
    path: str
    message: str

    def located(self, file: str) -> str:
        """The problem as ``file:line:column: path: message``."""
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class InvalidFile(UsageError):
    """An input file that is not valid; carries every problem that was found."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        first = self.problems[0]
        where = f"{file}:{first.line}:{first.column}" if first.line else file
        super().__init__(
            "; ".join(f"{p.path}: {p.message}" if p.path else p.message for p in self.problems), where=where
        )

    def __str__(self) -> str:
        return "\n".join(problem.located(self.file) for problem in self.problems)


class ChangesPending(TfsdeployError):
    """`diff` found differences between the fleet file and what runs."""

    exit_code = 3


class Refused(TfsdeployError):
    """A promote or rollback that was refused or taken back; traffic is as it was."""

    exit_code = 4


class Busy(TfsdeployError):
    """Somebody else has it: another change of this model, or a version number that is taken."""

    exit_code = 5


class Interrupted(TfsdeployError):
    """The user pressed Ctrl-C; nothing was undone, and the hint tells how to go on."""

    exit_code = 130
