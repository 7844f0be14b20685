"""`tfsdeploy down`: the end of a fleet; the store stays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import TfsdeployError


@declare(
    "down",
    examples=("tfsdeploy down", "tfsdeploy down --fleet shop --yes"),
    exits=(0, 1, 2, 5, 130),
    fields=("fleet", "target", "removed"),
)
@fleet_options(by_name=True, timeout=180.0, yes="End the fleet without asking.")
def command(call: Call) -> None:
    """End every process of the fleet and remove its state; the store stays as it is.

    Requests on their way are answered first.
    """
    target = call.target
    call.answer.know(fleet=target.fleet, target=target.kind)
    settings = target.settings()
    there = settings is not None
    if settings is not None:
        call.check_owner(settings)
        call.agree(f"End fleet {target.fleet} and forget its release history?")
    forget = _forget(call) if there else None
    # Also without settings: what an `up` that was killed has left goes too.
    target.remove(call.report, timeout=call.timeout)
    if forget is not None:
        with suppress(TfsdeployError):
            forget()
    call.report.clear()
    call.answer.give({"removed": there})
    if not call.answer.json:
        click.echo(f"fleet {target.fleet} is gone; its store was left alone" if there else "nothing was there")


def _forget(call: Call) -> Callable[[], None] | None:
    """Tells the store that nothing of this life of the fleet is needed any more; None if that cannot be said."""
    from tfsdeploy.cli.stores import remembering

    target = remembering(call)
    try:
        release = target.releases().read()
    except TfsdeployError:
        return None
    if release is None or target is call.target:
        return None
    return partial(target.forget, release.uid)  # type: ignore[attr-defined]
