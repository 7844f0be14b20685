"""One call of a command: which fleet it is about, and how it answers."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli.answer import Answer
from tfsdeploy.cli.deadline import Deadline
from tfsdeploy.cli.report import TerminalReport
from tfsdeploy.errors import InvalidFile, UsageError

if TYPE_CHECKING:
    from tfsdeploy.fleet.model import Fleet
    from tfsdeploy.release.update import Author
    from tfsdeploy.targets.base import Settings, Target

DEFAULT_FILE = Path("fleet.yaml")


@dataclass(slots=False)
class Call:
    """What the common options of a command stand for; everything is opened when it is asked for.

    Attributes:
        answer: the way out.
        file: the fleet file that was named; None for the one here.
        named: the fleet that was named instead of its file.
        kind: the target that was named.
        context: the context of the kubeconfig that was named.
        namespace: the namespace that was named.
        timeout: seconds to wait; 0 for a command that does not.
        yes: agreed to in advance.
        deadline: when it is given up.
        report: hears what happens.
        nameable: the command takes a fleet's name instead of its file.
    """

    answer: Answer
    file: Path | None
    named: str | None
    kind: str | None
    context: str | None
    namespace: str | None
    timeout: float
    yes: bool
    deadline: Deadline = field(default_factory=Deadline)
    report: TerminalReport = field(default_factory=TerminalReport)
    nameable: bool = False

    @property
    def path(self) -> Path:
        """The fleet file, named or not."""
        return self.file or DEFAULT_FILE

    @cached_property
    def fleet(self) -> Fleet:
        """The fleet file, loaded.

        Raises:
            UsageError: there is none.
            InvalidFile: it has problems.
        """
        from tfsdeploy.fleet.load import load_fleet

        if self.file is None and not os.path.lexists(self.path):
            raise UsageError("there is no fleet file", where=str(self.path), hint=self._other_files())
        return load_fleet(self.path)

    @cached_property
    def target(self) -> Target:
        """Where the fleet lives; it need not be up."""
        try:
            kind = self.kind or ("local" if self.named else self.fleet.target)
        except InvalidFile as error:
            error.hint = "a fleet that is up can be named without its file, where a command takes --fleet NAME"
            raise
        if kind == "local":
            from tfsdeploy.targets.local.target import LocalTarget

            self.check_local()
            return LocalTarget(self.named or self.fleet.name)
        if kind == "docker":
            from tfsdeploy.targets.docker.target import DockerTarget

            self.check_local()
            return DockerTarget(self.named or self.fleet.name)
        from tfsdeploy.targets.kubernetes.connection import PATIENCE_SECONDS, Place
        from tfsdeploy.targets.kubernetes.target import KubernetesTarget

        # Why the API server does not answer is to be told before the command's own time is up.
        patience = min(PATIENCE_SECONDS, 0.8 * self.timeout or PATIENCE_SECONDS)
        namespace = self.namespace or (None if self.named else self.fleet.namespace)
        place = Place(self.context, namespace, patience)
        return KubernetesTarget(self.named or self.fleet.name, place, self.report)

    @cached_property
    def settings(self) -> Settings:
        """What `up` last applied.

        Raises:
            UsageError: the fleet is not up (names those that are), or its name belongs to another file.
        """
        settings = self.target.settings()
        if settings is not None:
            self.check_owner(settings)
            return settings
        raise UsageError(f"fleet {self.target.fleet} is not up", where=self.target.where(), hint=self._other_places())

    def _other_files(self) -> str:
        """Where a fleet file may be after all, or what names a fleet without one."""
        from tfsdeploy.targets.local.state import fleet_names, home_folder

        ways = "`tfsdeploy init` starts one; -f names one elsewhere"
        if not self.nameable:
            return ways
        up = ", ".join(fleet_names(home_folder()))
        return f"{ways}; --fleet NAME does without" + (f", up on this machine: {up}" if up else "")

    def _other_places(self) -> str:
        """Where a fleet that is not up may be after all."""
        from tfsdeploy.targets.local.state import fleet_names, home_folder

        if self.target.kind == "kubernetes":
            return "run `tfsdeploy up` first, or name its place: --context and --namespace"
        if self.target.kind != "local" or self.named is None:
            return "run `tfsdeploy up` first"
        others = ", ".join(fleet_names(home_folder())) or "none"
        elsewhere = "" if self.kind else "; for a fleet elsewhere add -t docker or -t kubernetes"
        return f"up on this machine: {others}{elsewhere}"

    def check_local(self) -> None:
        """Refuse what says nothing of a fleet on this machine.

        Raises:
            UsageError: a cluster's context or namespace is named.
        """
        if self.context or self.namespace:
            raise UsageError("--context and --namespace are for the target kubernetes", hint="add -t kubernetes")

    def check_owner(self, settings: Settings) -> None:
        """Refuse a fleet file whose name another file has taken.

        Raises:
            UsageError: says which one has.
        """
        # In a cluster the namespace tells whose it is: the same file is rendered and applied from many places.
        if self.named is None and settings.target == "local" and settings.file != str(self.fleet.file):
            raise UsageError(
                f"the fleet name {settings.fleet} belongs to another file: {settings.file}",
                where=str(self.path),
                hint=f"give this fleet another name, or name the other one: --fleet {settings.fleet}",
            )

    def author(self, command: str, why: str = "") -> Author:
        """Who changes the release, and by which words."""
        from tfsdeploy.processes import who
        from tfsdeploy.release.update import Author

        return Author(who(), command, why)

    def agree(self, question: str) -> None:
        """Ask before something that cannot be taken back.

        Raises:
            UsageError: the answer is no, or there is no terminal to ask and no ``--yes``.
        """
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise UsageError(f"{question} There is no terminal to ask", hint="agree with --yes")
        with self.deadline.paused():
            agreed = click.confirm(question, err=True)
        if not agreed:
            raise UsageError("not agreed, so nothing was changed")
