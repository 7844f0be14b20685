"""`tfsdeploy mirror`: versions with their records, from the fleet's store to another one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.fleet.addresses import is_object_store


@declare(
    "mirror",
    examples=(
        "tfsdeploy mirror s3://models-elsewhere/prod",
        "tfsdeploy mirror file:///mnt/backup/models ranker",
        "tfsdeploy mirror s3://models/prod ranker 8 --endpoint https://s3.example.org",
    ),
    exits=(0, 1, 2, 5, 130),
    fields=("from", "to", "versions", "failed"),
)
@click.argument("to", metavar="URL")
@click.argument("model", required=False, shell_complete=complete.models)
@click.argument("version", type=words.version, required=False, shell_complete=complete.versions)
@click.option("--endpoint", metavar="URL", help="Of the other store, if it is not the provider's own.")
@click.option("--region", metavar="NAME", help="Of the other store's bucket.")
@click.option(
    "--path-style/--no-path-style",
    default=None,
    help="Whether the other bucket is in the path of its URLs, "
    "not in their host name.  [default: where there is an endpoint]",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificates of the authority that signed the other endpoint's.",
)
@click.option("--anonymous", is_flag=True, help="Use no credentials for the other store.")
@click.option(
    "--conditional-writes/--no-conditional-writes",
    default=True,
    show_default=True,
    help="Without: for another store that has none, while nobody else writes there.",
)
@fleet_options(by_name=True)
def command(
    call: Call,
    to: str,
    model: str | None,
    version: int | None,
    endpoint: str | None,
    region: str | None,
    path_style: bool | None,
    ca_file: Path | None,
    anonymous: bool,
    conditional_writes: bool,
) -> int:
    """Copy the store's versions, MODEL's, or one, to another store, with the records they have.

    What is there already with the same bytes is left alone, so the command can be run again and again. A version that
    is damaged, or has other bytes there, is named and not copied; the others are (exit 1). Credentials come from the
    environment, the same for both stores. What storeOptions are for the fleet's store, --endpoint to
    --conditional-writes are for the other one.
    """
    from tfsdeploy.cli.stores import asked, models_of
    from tfsdeploy.deploy.stores import StoredModels
    from tfsdeploy.deploy.words import count
    from tfsdeploy.store.mirror import mirror
    from tfsdeploy.store.record import InvalidRecord
    from tfsdeploy.store.verify import Damaged

    here = models_of(call)
    given = {
        "endpoint": endpoint,
        "region": region,
        "path_style": path_style,
        "ca_file": ca_file and str(ca_file),
        "anonymous": anonymous or None,
        "conditional_writes": None if conditional_writes else False,
    }
    there = StoredModels(to.rstrip("/"), _options(to, given))
    rows: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []
    codes: set[int] = set()
    # Also if it ends early, it says how far it came.
    call.answer.know(**{"from": here.url, "to": there.url, "versions": rows, "failed": failed})
    for name, number in asked(here, model, version):
        progress = partial(call.report.progress, f"{name} {number}")
        try:
            record, already = mirror(here.store, there.store, name, number, progress)
        except (Damaged, InvalidRecord, Busy, UsageError) as error:
            if version is not None:
                raise
            codes.add(Busy.exit_code if isinstance(error, Busy) else TfsdeployError.exit_code)
            failed.append({"model": name, "version": number, "error": error.message})
            call.report.warn(f"{name} {number} is not copied: {error}")
            continue
        rows.append({"model": name, "version": number, "bytes": record.bytes, "already": already})
    call.report.clear()
    call.answer.give()
    if not call.answer.json:
        new = [row for row in rows if not row["already"]]
        not_copied = f"; {len(failed)} could not be" if failed else ""
        click.echo(
            f"{count(len(new), 'version')} copied to {there.url}, {len(rows) - len(new)} there before" + not_copied
        )
    return min(codes, default=0)


def _options(to: str, given: Mapping[str, object]) -> dict[str, object]:
    """What is said of how the other store is reached; refused where it would mean nothing, as in a fleet file."""
    said = {name: value for name, value in given.items() if value is not None}
    useless = (
        said if not is_object_store(to) else {} if to.startswith("s3://") else {"region", "path_style"} & set(said)
    )
    for name in useless:
        words = name.replace("_", "-")
        raise UsageError(f"--{words} is not for this store", where=to, hint="leave it out")
    return said
