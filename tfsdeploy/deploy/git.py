"""A change that goes through Git: the fleet file edited, rendered and committed; whoever follows Git applies it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.deploy.artefacts_folder import write_artefacts
from tfsdeploy.deploy.follow import as_live, write_in_place
from tfsdeploy.deploy.rendering import home_below, render_kubernetes
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.load import parse_fleet, read_text
from tfsdeploy.release.model import ModelRelease
from tfsdeploy.render.kubernetes.artefacts import KUSTOMIZATION


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit.

    Attributes:
        commit: its hash, as people write it.
        branch: that it is on; empty if no branch is checked out.
        remote: where that branch goes.
    """

    commit: str
    branch: str
    remote: str = "origin"

    @property
    def push(self) -> str:
        """The command that pushes it."""
        return f"git push {self.remote} {self.branch or 'HEAD:BRANCH'}"


def commit_model(
    file: Path, folder: Path, name: str, wanted: ModelRelease, *, namespace: str | None, message: str, why: str
) -> Committed:
    """Commit a fleet file that pins a model as wanted, and what is rendered from it.

    Args:
        file: the fleet file, in a Git repository, and pinning the model already.
        folder: where it is rendered to, alone or with other fleets, in the same repository.
        name: the model.
        wanted: its main version and traffic.
        namespace: where the objects live, if the file does not say.
        message: the commit's first line.
        why: its body; may be empty.

    Raises:
        UsageError: there is no repository, the file does not pin the model, something there is not committed yet, or
            Git is to ignore the folder.
        TfsdeployError: Git refuses; file and folder are as they were.
    """
    text = read_text(file)
    before = parse_fleet(text, str(file))
    if name not in before.models or before.models[name].version is None:
        raise UsageError(
            f"{name} is not pinned, so Git does not decide about it",
            where=str(file),
            hint=f"leave out --git, or pin it: models.{name}.version",
        )
    git = _Repository(file, folder)
    git.check_clean()
    edited = as_live(text, wanted, name, str(file))
    fleet = parse_fleet(edited, str(file))
    if edited == text:
        raise UsageError(f"the fleet file pins {name} so already", where=str(file), hint="push what is committed")
    rendered = render_kubernetes([fleet], namespace)
    try:
        write_in_place(file, edited)
        home = home_below(folder, fleet, namespace)
        write_artefacts(
            home, rendered.artefacts, marker=rendered.marker, patterns=rendered.patterns, others=rendered.others
        )
        return git.commit(message, why)
    except BaseException:
        git.restore()
        raise


class _Repository:
    """The repository of a fleet file, as far as it and its rendered files go."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file = file.absolute()
        self._folder = folder.absolute()
        self._paths = (str(self._file), str(self._folder))

    def check_clean(self) -> None:
        found = self._git("status", "--porcelain", "--", *self._paths, usage=True)
        if found:
            raise UsageError(
                f"not committed yet: {', '.join(line[3:] for line in found.splitlines())}",
                where=str(self._file.parent),
                hint="commit or take back what is there, so that the commit holds this change alone",
            )
        if rule := self._git("check-ignore", "--verbose", "--", str(self._folder / KUSTOMIZATION), check=False):
            hint = "take the rule back, or render into another folder"
            raise UsageError(f"Git ignores it: {rule.split(chr(9))[0]}", where=str(self._folder), hint=hint)

    def commit(self, message: str, why: str) -> Committed:
        self._git("add", "--all", "--", *self._paths)
        bodies = ("-m", why) if why else ()
        self._git("commit", "--quiet", "-m", message, *bodies, "--", *self._paths)
        commit = self._git("rev-parse", "--short", "HEAD").strip()
        branch = self._git("symbolic-ref", "--quiet", "--short", "HEAD", check=False).strip()
        remote = self._git("config", f"branch.{branch}.remote", check=False).strip() if branch else ""
        return Committed(commit, branch, remote or "origin")

    def restore(self) -> None:
        """Make everything as it was committed last: it was so before."""
        self._git("reset", "--quiet", "--", *self._paths, check=False)
        for path in self._paths:
            # One by one: a folder that was not there before has nothing to be taken back.
            self._git("checkout", "--quiet", "HEAD", "--", path, check=False)
        self._git("clean", "--quiet", "-fd", "--", self._paths[1], check=False)

    def _git(self, *words: str, usage: bool = False, check: bool = True) -> str:
        try:
            done = subprocess.run(
                ["git", "-c", "core.quotePath=false", *words],
                cwd=self._file.parent,
                capture_output=True,
                text=True,
                check=False,
                errors="replace",
            )
        except OSError as error:
            raise UsageError(f"git cannot be run: {error.strerror}", hint="install git, or leave out --git") from error
        if done.returncode and check:
            kind = UsageError if usage else TfsdeployError
            raise kind(f"git {words[0]}: {(done.stderr or done.stdout).strip()}", where=str(self._file.parent))
        return done.stdout
