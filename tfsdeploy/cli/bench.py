"""`tfsdeploy bench MODEL`: an open-loop load test through the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument

FIELDS = ("model", "protocol", "rate", "seconds", "asked", "sent", "failed", "p50_ms", "p90_ms", "p99_ms", "max_ms",
          "errors", "failures")  # fmt: skip


@declare(
    "bench",
    examples=(
        "tfsdeploy bench ranker --rate 500 --duration 30s",
        "tfsdeploy bench ranker --grpc --rate 200 -o json",
    ),
    exits=(0, 1, 2, 130),
    fields=FIELDS,
)
@model_argument
@click.option("--rate", type=words.rate, metavar="N", default="100", show_default=True, help="Requests a second.")
@click.option("--duration", type=words.span, metavar="TIME", default="10s", show_default=True, help="Such as 2m.")
@click.option("--rest", is_flag=True, help="Over REST.")
@click.option("--grpc", is_flag=True, help="Over gRPC.  [default: both in turn]")
@fleet_options(by_name=True)
def command(call: Call, model: str, rate: float, duration: float, rest: bool, grpc: bool) -> int:
    """Send requests to MODEL at a steady rate, whatever becomes of them; exit 1 if one failed.

    Nothing is retried, and latency counts from the moment a request was due. One request in ten is on a new connection.
    """
    from tfsdeploy.deploy.histogram import bars
    from tfsdeploy.deploy.load import Stream, milliseconds
    from tfsdeploy.deploy.probe import BOTH, asks, gateway_of
    from tfsdeploy.release.update import model_of, present

    wanted = tuple(one for one, named in zip(BOTH, (rest, grpc), strict=True) if named or rest == grpc)
    protocol = wanted[0] if len(wanted) == 1 else "both"
    call.answer.know(model=model, protocol=protocol, rate=rate, seconds=duration)
    _ = call.settings
    model_of(present(call.target.releases()), model)
    gateway = gateway_of(call.target)
    stream = Stream(gateway.rest, gateway.grpc, asks(call.target, model, wanted), rate)
    call.report.waiting(f"{rate:g} requests a second for {duration:g} s")
    tally = asyncio.run(stream.run(duration))
    call.report.clear()
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
