"""`tfsdeploy versions MODEL`: what the store has, and where it is loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument
from tfsdeploy.cli.picture import columns
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.keys import PREFIX

if TYPE_CHECKING:
    from tfsdeploy.deploy.watch import View


READERS = 8
"""Records that are read at once."""


@declare(
    "versions",
    examples=("tfsdeploy versions ranker", "tfsdeploy versions ranker -o json"),
    fields=("model", "versions"),
)
@model_argument
@fleet_options(by_name=True, reads=True)
def command(call: Call, model: str) -> None:
    """List MODEL's committed versions: size, when, by whom, replicas that have it loaded, share of traffic.

    LOAD and MEMORY are what `push --check` measured: seconds, and bytes of memory that loading took at most.
    """
    from tfsdeploy.cli.stores import known_model, readable
    from tfsdeploy.store.record import check_to_plain

    call.answer.know(model=model)
    stored = readable(call)
    rows: list[dict[str, Any]] = []
    of = "all"

    def so_far() -> str:
        return f"{stored.url}: {len(rows)} of {of} versions of {model}"

    def row(version: int) -> dict[str, Any]:
        try:
            record = stored.record(model, version)
        except TfsdeployError as error:
            # One that cannot be read hides none of the others.
            call.report.warn(str(error))
            record = None
        return {
            "version": version,
            "digest": record.digest if record else None,
            "bytes": record.bytes if record else None,
            "committed": record.committed if record else None,
            "by": record.by if record else None,
            "tensorflow": record.tensorflow if record else None,
            "signatures": sorted(record.signatures) if record and record.signatures is not None else None,
            "check": check_to_plain(record.check) if record and record.check else None,
            "signed": [signed.key for signed in record.signed] if record else None,
            "replicas": _holders(view, model, version),
            "traffic": traffic.get(version, 0),
        }

    with call.report.patiently(so_far):
        known_model(stored, model)
        view, traffic = _live(call, model)
        numbers = stored.versions(model) or ()
        of = str(len(numbers))
        # One request each, and only a row of each is kept: a model can have thousands.
        with ThreadPoolExecutor(READERS) as pool:
            rows.extend(pool.map(row, numbers))
        uncommitted = () if call.answer.json else stored.uncommitted(model)
    call.answer.give({"versions": rows})
    if not call.answer.json:
        heads = ("VERSION", "BYTES", "COMMITTED", "BY", "REPLICAS", "TRAFFIC", "LOAD", "MEMORY", "SIGNED", "DIGEST")
        click.echo("\n".join(columns(heads, [_cells(row) for row in rows])))
        for version in uncommitted:
            call.report.warn(
                f"{model} {version} has no commit record: a push that has not ended, which the same push continues, or "
                f"another tool's version, which `tfsdeploy adopt {model} {version}` takes"
            )


def _live(call: Call, model: str) -> tuple[View, dict[int, int]]:
    """What the fleet says; nothing if it is not up."""
    from tfsdeploy.deploy.watch import SILENT_SECONDS, View, Watch

    if call.target.settings() is None:
        return View(), {}
    release = call.target.releases().read()
    with Watch(call.target) as watch:
        view = watch.until(lambda view: view.heard, SILENT_SECONDS)
    known = release.models.get(model) if release else None
    return view, dict(known.traffic) if known else {}


def _holders(view: View, model: str, version: int) -> int:
    from tfsdeploy.protocol.agents import State

    states = [status.state(model, version) for status in view.replicas.values() if status is not None]
    return sum(row is not None and row.state is State.AVAILABLE for row in states)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    cells = (row["version"], row["bytes"], (row["committed"] or "-")[:19], row["by"], row["replicas"])
    check = row["check"]
    load, memory = (f"{check['loadSeconds']:.2f} s", str(check["peakMemory"])) if check else ("-", "-")
    signed = ", ".join(key.removeprefix(PREFIX)[:8] for key in row["signed"] or ()) or "-"
    shown = ("-" if cell is None else str(cell) for cell in cells)
    return (*shown, f"{row['traffic']} %", load, memory, signed, (row["digest"] or "-")[:19])
