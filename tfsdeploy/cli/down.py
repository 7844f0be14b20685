"""`tfsdeploy down`: the end of a fleet; the store stays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import Interrupted, TfsdeployError

FORGET_SECONDS = 10.0


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
    # Also without settings: what an `up` that was killed has left goes too. It keeps its time itself.
    call.deadline.set(0)
    try:
        target.remove(call.report, timeout=call.timeout)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; part of fleet {target.fleet} may be gone, and what is left runs on",
            hint="the same command continues; `tfsdeploy up` brings back what is missing",
        ) from None
    if forget is not None and not _in_time(forget, min(call.timeout, FORGET_SECONDS)):
        call.report.warn("the store was not told that this fleet is gone, so `tfsdeploy gc` keeps what it needed")
    call.report.clear()
    call.answer.give({"removed": there})
    if not call.answer.json:
        click.echo(f"fleet {target.fleet} is gone; its store was left alone" if there else "nothing was there")


def _in_time(forget: Callable[[], None], seconds: float) -> bool:
    """Whether it could be done; what a store does not answer is not waited for any longer."""
    done = threading.Event()

    def try_it() -> None:
        with suppress(TfsdeployError):
            forget()
            done.set()

    thread = threading.Thread(target=try_it, name="forget", daemon=True)
    thread.start()
    thread.join(seconds)
    return done.is_set()


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
