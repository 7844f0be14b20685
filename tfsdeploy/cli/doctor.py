"""`tfsdeploy doctor`: what this machine and this fleet lack, and how to mend it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.cli.picture import BAD, GOOD, columns, painted
from tfsdeploy.errors import TfsdeployError, UsageError

if TYPE_CHECKING:
    from tfsdeploy.deploy.doctor import Finding
    from tfsdeploy.targets.base import Settings


@declare(
    "doctor",
    examples=("tfsdeploy doctor", "tfsdeploy doctor --fleet shop", "tfsdeploy doctor -f fleets/shop.yaml -o json"),
    exits=(0, 1, 2),
    fields=("healthy", "findings"),
)
@fleet_options(by_name=True)
def command(call: Call) -> int:
    """Check ports, Envoy, TensorFlow, memory, store, state folder and clock; exit 1 if something is amiss.

    A fleet that is up is checked too: its replicas, gateways and supervisor, and that the store still has what they
    serve. With --fleet only what is up is checked; without a fleet file only the machine is. Of a fleet on Kubernetes:
    that the cluster answers, what the user may do there, and the fleet itself.
    """
    from tfsdeploy.deploy.doctor import machine_findings
    from tfsdeploy.targets.local.state import home_folder

    findings: list[Finding] = []
    of_fleet = call.named is not None or call.file is not None or os.path.lexists(call.path)
    if not of_fleet or call.target.kind == "local":
        findings += machine_findings(home_folder())
    if of_fleet:
        findings += _fleet(call)
    healthy = all(finding.ok for finding in findings)
    call.answer.give(
        {"healthy": healthy, "findings": [asdict(finding) | {"mend": finding.mend or None} for finding in findings]}
    )
    if not call.answer.json:
        rows = [
            (painted("ok", GOOD) if finding.ok else painted("!!", BAD), finding.check, finding.found, finding.mend)
            for finding in findings
        ]
        click.echo("\n".join(columns(("", "CHECK", "FOUND", "TO MEND"), rows)))
    return 0 if healthy else 1


def _fleet(call: Call) -> Iterator[Finding]:
    """What one fleet lacks; what cannot be read of it is a finding like others."""
    from tfsdeploy.cli.stores import store_words
    from tfsdeploy.deploy.doctor import Finding, fleet_findings

    try:
        if call.target.kind == "local":
            settings = call.settings if call.named else call.target.settings()
            if call.named is None:
                yield from fleet_findings(call.fleet, is_up=settings is not None, check_store=store_words)
        else:
            yield from _place(call)
            settings = call.target.settings()
        if settings is not None:
            yield from _running(call, settings)
    except UsageError:
        raise
    except TfsdeployError as error:
        place = f"{error.where}: " if error.where else ""
        yield Finding("fleet", False, f"{place}{error.message}", error.hint)


def _place(call: Call) -> Iterator[Finding]:
    """The engine, or the cluster and what the user may do there."""
    from tfsdeploy.deploy.doctor import Finding
    from tfsdeploy.targets.docker.target import DockerTarget
    from tfsdeploy.targets.kubernetes.target import KubernetesTarget

    target = call.target
    if isinstance(target, DockerTarget):
        yield Finding("engine", True, target.engine.words())
        return
    assert isinstance(target, KubernetesTarget)
    yield Finding("cluster", True, target.place())
    if call.named is None and (missing := target.missing_permissions(call.fleet)):
        yield Finding("permissions", False, f"missing: {', '.join(missing)}", "ask for a Role with these verbs")
    elif call.named is None:
        yield Finding("permissions", True, "all that `up` needs")


def _running(call: Call, settings: Settings) -> Iterator[Finding]:
    from tfsdeploy.cli.stores import readable
    from tfsdeploy.deploy.doctor import lost_versions, running_findings
    from tfsdeploy.deploy.status import troubles
    from tfsdeploy.deploy.watch import SILENT_SECONDS, Watch

    release = call.target.releases().read()
    with Watch(call.target) as watch:
        view = watch.until(lambda view: view.heard, SILENT_SECONDS + 0.5)
    found = (*call.target.troubles(), *troubles(settings, release, view))
    try:
        lost = lost_versions(release, readable(call).versions) if release is not None else {}
    except TfsdeployError:
        # What runs is told also when the store is away.
        yield from running_findings(found, {})
        raise
    yield from running_findings(found, lost)
