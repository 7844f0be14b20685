"""`tfsdeploy bench MODEL`: an open-loop load test through the gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument
from tfsdeploy.errors import TfsdeployError, UsageError

if TYPE_CHECKING:
    from tfsdeploy.deploy.load import Tally
    from tfsdeploy.deploy.probe import Protocol
    from tfsdeploy.targets.base import Ran

FIELDS = ("model", "protocol", "rate", "seconds", "asked", "sent", "failed", "p50_ms", "p90_ms", "p99_ms", "max_ms",
          "errors", "failures")  # fmt: skip


@declare(
    "bench",
    examples=(
        "tfsdeploy bench ranker --rate 500 --duration 30s",
        "tfsdeploy bench ranker --grpc --rate 200 -o json",
        "tfsdeploy bench ranker --at http://gateway.example:8501 --grpc-at gateway.example:8500",
    ),
    exits=(0, 1, 2, 130),
    fields=FIELDS,
)
@model_argument
@click.option("--rate", type=words.rate, metavar="N", default="100", show_default=True, help="Requests a second.")
@click.option("--duration", type=words.span, metavar="TIME", default="10s", show_default=True, help="Such as 2m.")
@click.option("--rest", is_flag=True, help="Over REST.")
@click.option("--grpc", is_flag=True, help="Over gRPC.  [default: both in turn]")
@click.option("--at", metavar="URL", help="A gateway's REST address, instead of a fleet.")
@click.option("--grpc-at", metavar="HOST:PORT", help="Its gRPC address.")
@fleet_options(by_name=True)
def command(
    call: Call, model: str, rate: float, duration: float, rest: bool, grpc: bool, at: str | None, grpc_at: str | None
) -> int:
    """Send requests to MODEL at a steady rate, whatever becomes of them; exit 1 if one failed.

    Nothing is retried, and latency counts from the moment a request was due. One request in ten is on a new connection.
    On Kubernetes a Job sends them from beside the gateways.
    """
    from tfsdeploy.deploy.probe import BOTH, gateway_of
    from tfsdeploy.release.update import model_of, present

    wanted = tuple(one for one, named in zip(BOTH, (rest, grpc), strict=True) if named or rest == grpc)
    protocol = wanted[0] if len(wanted) == 1 else "both"
    call.answer.know(model=model, protocol=protocol, rate=rate, seconds=duration)
    if at is not None or grpc_at is not None:
        if at is None or (grpc_at is None and "grpc" in wanted):
            raise UsageError("both addresses of the gateway are needed", hint="--at URL --grpc-at HOST:PORT")
        return _tell(call, _ask(call, words.gateway_url(at), grpc_at or "", model, wanted, rate, duration))
    _ = call.settings
    model_of(present(call.target.releases()), model)
    flags = [flag for flag, named in (("--rest", rest), ("--grpc", grpc)) if named]
    output = "json" if call.answer.json else "text"
    args = ["bench", model, f"--rate={rate}", f"--duration={duration}s", *flags, f"--output={output}"]
    ran = call.target.beside_gateways(
        [*args, "--at={rest}", "--grpc-at={grpc}"], call.report, seconds=duration + call.timeout
    )
    if ran is not None:
        return _relay(call, ran)
    gateway = gateway_of(call.target)
    return _tell(call, _ask(call, gateway.rest, gateway.grpc, model, wanted, rate, duration))


def _ask(
    call: Call, rest: str, grpc: str, model: str, wanted: tuple[Protocol, ...], rate: float, duration: float
) -> Tally:
    from tfsdeploy.deploy.load import Stream
    from tfsdeploy.deploy.probe import asks

    stream = Stream(rest, grpc, asks(rest, model, wanted), rate)
    call.report.waiting(f"{rate:g} requests a second for {duration:g} s")
    tally = asyncio.run(stream.run(duration))
    call.report.clear()
    return tally


def _relay(call: Call, ran: Ran) -> int:
    """Answer with what a command beside the gateways has printed."""
    call.report.clear()
    if not call.answer.json:
        click.echo(ran.out.rstrip())
        return ran.code
    try:
        document = json.loads(ran.out.splitlines()[-1])
        error = document.pop("error", None)
    except (IndexError, ValueError, AttributeError) as wrong:
        raise TfsdeployError(f"the command beside the gateways ended with {ran.code}: {ran.out[-500:]}") from wrong
    if error is not None:
        raise TfsdeployError(error["message"], where=error["where"], hint=error["hint"])
    call.answer.give(document)
    return ran.code


def _tell(call: Call, tally: Tally) -> int:
    from tfsdeploy.deploy.histogram import bars
    from tfsdeploy.deploy.load import milliseconds

    call.answer.know(asked=tally.asked, sent=tally.sent, failed=tally.failed, errors=dict(tally.kinds))
    call.answer.know(failures=[{"second": round(second, 3), "what": what} for second, what in tally.failures])
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
    figures = {name: milliseconds(tally.percentile(share)) for name, share in shares.items()}
    call.answer.give(figures)
    if not call.answer.json:
        click.echo("\n".join([*bars(tally.seconds), "", *_sum(tally, figures)]))
    return 1 if tally.failed else 0


def _sum(tally: Any, figures: dict[str, float | None]) -> list[str]:
    rate = tally.sent / tally.elapsed if tally.elapsed else 0.0
    lines = [f"sent {tally.sent} of {tally.asked} in {tally.elapsed:.1f} s ({rate:.0f}/s), {tally.failed} failed"]
    if tally.seconds:
        lines.append("  ".join(f"{name.removesuffix('_ms')} {value} ms" for name, value in figures.items()))
    return [*lines, *(f"  {number} x {kind}" for kind, number in tally.kinds.items())]
