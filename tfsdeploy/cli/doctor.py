"""`tfsdeploy doctor`: what this machine and this fleet lack, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.cli.picture import BAD, GOOD, columns, painted


@declare(
    "doctor",
    examples=("tfsdeploy doctor", "tfsdeploy doctor -f fleets/shop.yaml -o json"),
    exits=(0, 1, 2),
    fields=("healthy", "findings"),
)
@fleet_options()
def command(call: Call) -> int:
    """Check ports, Envoy, TensorFlow, memory, store, state folder and clock; exit 1 if something is amiss.

    Without a fleet file only the machine is checked.
    """
    from tfsdeploy.cli.stores import store_words
    from tfsdeploy.deploy.doctor import fleet_findings, machine_findings
    from tfsdeploy.targets.local.state import home_folder

    findings = list(machine_findings(home_folder()))
    if call.file is not None or call.path.exists():
        is_up = call.target.settings() is not None
        findings += fleet_findings(call.fleet, is_up=is_up, check_store=store_words)
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
