"""`tfsdeploy verify`: whether the bytes in the store are still those of their commit records."""

from __future__ import annotations

from functools import partial

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import Interrupted


@declare(
    "verify",
    examples=("tfsdeploy verify", "tfsdeploy verify ranker 7", "tfsdeploy verify -o json"),
    exits=(0, 1, 2, 130),
    fields=("store", "checked", "bytes", "damaged"),
)
@click.argument("model", required=False, shell_complete=complete.models)
@click.argument("version", type=words.version, required=False, shell_complete=complete.versions)
@fleet_options(by_name=True)
def command(call: Call, model: str | None, version: int | None) -> int:
    """Read every byte of the store's versions, of MODEL's, or of one, and compare them with their commit records.

    Exit 1 if any differs. Replicas compare what they load by themselves; this finds what nobody has loaded for long.
    """
    from tfsdeploy.cli.stores import asked, models_of
    from tfsdeploy.deploy.words import count
    from tfsdeploy.store.record import InvalidRecord
    from tfsdeploy.store.verify import Damaged

    stored = models_of(call)
    checked, size = 0, 0
    damaged: list[dict[str, object]] = []

    def found() -> str:
        # Also if it ends early, it says what it found.
        call.answer.know(store=stored.url, checked=checked, bytes=size, damaged=damaged)
        sound = f"{len(damaged)} damaged" if damaged else "all as their commit records say"
        return f"{count(checked, 'version')}, {size} bytes read: {sound}"

    found()
    try:
        for name, number in asked(stored, model, version):
            try:
                size += stored.verify(name, number, partial(call.report.progress, f"{name} {number}"))
            except (Damaged, InvalidRecord) as error:
                damaged.append({"model": name, "version": number, "error": error.message})
                call.report.warn(error.message)
            checked += 1
            found()
    except KeyboardInterrupt:
        hint = "nothing was changed; `tfsdeploy verify MODEL` reads one model's versions"
        raise Interrupted(f"interrupted after {found()}", where=stored.url, hint=hint) from None
    call.report.clear()
    call.answer.give()
    if not call.answer.json:
        click.echo(found())
    if damaged:
        call.report.say(_way_out(stored.url, str(damaged[0]["model"]), damaged[0]["version"]))
    return 1 if damaged else 0


def _way_out(url: str, model: str, version: object) -> str:
    return (
        f"what serves goes on serving. To mend {model} {version}: remove {url}/{model}/{version} with the store's own "
        f"tools, and publish the same bytes there again: `tfsdeploy push {model} DIR --version {version}`. Or publish "
        f"them under the next number, `tfsdeploy push {model} DIR`, and promote that"
    )
