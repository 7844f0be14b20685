"""`tfsdeploy doctor`: what this machine and this fleet lack, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.cli.picture import BAD, GOOD, columns, painted

if TYPE_CHECKING:
    from tfsdeploy.deploy.doctor import Finding


@declare(
    "doctor",
    examples=("tfsdeploy doctor", "tfsdeploy doctor -f fleets/shop.yaml -o json"),
    exits=(0, 1, 2),
    fields=("healthy", "findings"),
)
@fleet_options()
def command(call: Call) -> int:
    """Check ports, Envoy, TensorFlow, memory, store, state folder and clock; exit 1 if something is amiss.

    A fleet that is up is checked too: its replicas, gateways and supervisor, and that the store still has what they
    serve. Without a fleet file only the machine is checked.
    """
    from tfsdeploy.cli.stores import store_words
    from tfsdeploy.deploy.doctor import fleet_findings, machine_findings
    from tfsdeploy.targets.local.state import home_folder

    findings = list(machine_findings(home_folder()))
    if call.file is not None or call.path.exists():
        is_up = call.target.settings() is not None
        findings += fleet_findings(call.fleet, is_up=is_up, check_store=store_words)
        if is_up:
            findings += _running(call)
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


def _running(call: Call) -> Iterator[Finding]:
    from tfsdeploy.cli.stores import committed
    from tfsdeploy.deploy.doctor import lost_versions, running_findings
    from tfsdeploy.deploy.status import troubles
    from tfsdeploy.deploy.watch import SILENT_SECONDS, Watch

    release = call.target.releases().read()
    with Watch(call.target) as watch:
        view = watch.until(lambda view: view.heard, SILENT_SECONDS + 0.5)
    store = committed(call.fleet)
    lost = lost_versions(release, store.versions) if release is not None and store.store.root.is_dir() else {}
    return running_findings((*call.target.troubles(), *troubles(call.settings, release, view)), lost)
