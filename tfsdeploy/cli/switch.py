"""What promote and rollback share: their document, the probe, and the fleet file that follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import Function
from tfsdeploy.errors import Interrupted, TfsdeployError, UsageError

if TYPE_CHECKING:
    from tfsdeploy.deploy.switched import Switched
    from tfsdeploy.release.model import ModelRelease
    from tfsdeploy.release.update import Author

FIELDS = ("model", "from", "to", "generation", "seconds", "probe", "commit")

why_option = click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")

write_option = click.option(
    "--write/--no-write", default=True, show_default=True, help="Let the fleet file follow, if it pins the model."
)

probe_option = click.option(
    "--probe", type=words.rate, metavar="RATE",
    help="Send so many requests a second through the gateway meanwhile, and count.",
)  # fmt: skip

git_option = click.option(
    "--git", "git_folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Change nothing that is live: edit the fleet file, render it into DIR, and commit both.",
)  # fmt: skip


def switch_options(function: Function) -> Function:
    """The options of both commands."""
    for option in (git_option, probe_option, write_option, why_option):
        function = option(function)
    return function


def switch(
    call: Call, model: str, author: Author, change: Callable[[], Switched], *, write: bool, probe: float | None
) -> None:
    """Carry out a change, let the fleet file follow, and answer with what was done.

    Args:
        call: the command's call.
        model: the model that changes.
        author: who and why.
        change: writes it, and waits until it is effective.
        write: the fleet file may be edited.
        probe: requests a second meanwhile; None: none.
    """
    with interruptible(model), probing(call, model, probe):
        done = follow(call, change(), author, write)
    show(call, done)


def commit(call: Call, model: str, wanted: ModelRelease, author: Author, folder: Path) -> None:
    """Let Git bring the change, and say what to push."""
    from tfsdeploy.deploy.git import commit_model

    if call.named is not None or call.target.kind != "kubernetes":
        raise UsageError("--git is for a fleet on Kubernetes whose file is here", hint="-t kubernetes -f FILE")
    done = commit_model(
        call.path, folder, model, wanted, namespace=call.namespace, message=author.command, why=_body(author)
    )
    call.answer.give({"commit": done.commit})
    if not call.answer.json:
        where = f"on {done.branch}" if done.branch else "on no branch"
        click.echo(f"{model}: commit {done.commit} {where} is to be pushed: {done.push}")


def _body(author: Author) -> str:
    return f"{author.why}\n\nBy {author.who}." if author.why else f"By {author.who}."


def show(call: Call, done: Switched) -> None:
    """Answer with what was done."""
    if call.answer.json:
        seconds = {name: round(value, 3) for name, value in _seconds(done).items()}
        call.answer.give({"from": done.from_, "to": done.to, "generation": done.generation, "seconds": seconds})
        return
    call.report.clear()
    if not done.changed:
        click.echo(f"{done.model} {done.to} has this traffic already (generation {done.generation})")
        return
    if not done.moved:
        click.echo(f"{done.model}: {done.from_} is given up, traffic stays on {done.to} (generation {done.generation})")
        return
    part = f"{done.share} % of the traffic" if done.share != 100 else "traffic"
    came = f" from {done.from_}" if done.from_ is not None and done.from_ != done.to else ""
    times = ", ".join(f"{name} {value:.2f} s" for name, value in _seconds(done).items() if value)
    click.echo(f"{done.model}: {part}{came} to {done.to} (generation {done.generation}; {times})")


def _seconds(done: Switched) -> dict[str, float]:
    return {"load": done.load, "switch": done.switch, "total": done.total}


def follow(call: Call, done: Switched, author: Author, write: bool) -> Switched:
    """Let the fleet file follow what is live, if it pins the model; a file that cannot is only warned of."""
    pins = call.target.pins()
    if pins is None or done.model not in pins.models:
        return done
    if not write or call.named is not None:
        call.report.warn(
            f"the fleet file still pins {done.model} to {pins.models[done.model].version}; it was not edited"
        )
        return done
    from tfsdeploy.deploy.follow import follow

    try:
        generation = follow(call.target, call.fleet.file, done.model, author)
    except TfsdeployError as error:
        call.report.warn(f"what is live is not in the fleet file: {error}")
        return done
    if generation is not None or call.target.kind != "local":
        call.report.say(f"{call.path} pins {done.model} as it is live; commit it")
    return done if generation is None else replace(done, generation=generation)


@contextmanager
def interruptible(model: str) -> Iterator[None]:
    """Ctrl-C stops where the change is, and says how to continue or abort."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; model {model} stays as it is, and the fleet serves on",
            hint=f"the same command continues; `tfsdeploy rollback {model}` aborts",
        ) from None


@contextmanager
def probing(call: Call, model: str, rate: float | None) -> Iterator[None]:
    """An open-loop stream through the gateway while the block runs; its figures become part of the answer."""
    if rate is None:
        yield
        return
    from tfsdeploy.deploy.load import Background, Stream
    from tfsdeploy.deploy.probe import asks

    gateway = call.target.gateways()[0]
    stream = Stream(gateway.rest, gateway.grpc, asks(gateway.rest, model), rate)
    try:
        with Background(stream):
            yield
    finally:
        call.answer.know(probe=stream.tally.summary())
        _tell_probe(call, stream.tally.summary())


def _tell_probe(call: Call, found: dict[str, Any]) -> None:
    tell: Callable[[str], None] = call.report.warn if found["failed"] else call.report.say
    latency = f", p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms" if found["p50_ms"] is not None else ""
    tell(f"probe: {found['sent']} requests, {found['failed']} failed{latency}")
