"""`tfsdeploy adopt MODEL VERSION`: a commit record for what another tool put into the store."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument, version_argument
from tfsdeploy.cli.signing import SIGN_HELP, check_asked, signing


@declare(
    "adopt",
    examples=("tfsdeploy adopt ranker 7", "tfsdeploy adopt ranker 7 --sign release.pem"),
    exits=(0, 1, 2, 5, 130),
    fields=("model", "version", "digest", "bytes", "store", "signed"),
)
@model_argument
@version_argument
@click.option("--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help=SIGN_HELP)
@fleet_options(by_name=True)
def command(call: Call, model: str, version: int, key: Path | None) -> None:
    """Give a commit record to a version of MODEL that another tool put into the store.

    Only then does it exist for `promote` and `up`. It must be complete, and must not change any more. With --sign, a
    version that has its record already is read, compared with it, and signed.
    """
    from tfsdeploy.cli.stores import known_model, models_of
    from tfsdeploy.store.said import Said

    stored = models_of(call)
    call.answer.know(model=model, version=version, store=stored.store.url)
    known_model(stored, model)
    sign = signing(stored.store, key)
    if key is None and stored.store.record(model, version) is None:
        check_asked(stored.store, key)
    progress = partial(call.report.progress, model)
    record, was_there = stored.store.adopt(model, version, progress, said=Said(sign=sign))
    if was_there and key is not None:
        from tfsdeploy.store.signing import as_compared

        stored.store.verify(record, progress)
        record = stored.store.sign(model, version, as_compared(sign, record))
    call.report.clear()
    keys = [signed.key for signed in record.signed]
    call.answer.give({"digest": record.digest, "bytes": record.bytes, "signed": keys})
    if not call.answer.json:
        did = ("is signed" if key else "had its record already") if was_there else "is adopted"
        click.echo(f"{model} {version} {did} ({record.bytes} bytes, {record.digest[:19]}…)")
