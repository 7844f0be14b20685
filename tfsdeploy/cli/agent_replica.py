"""`tfsdeploy agent replica`: the agent beside one model server."""

from __future__ import annotations

from pathlib import Path

import click

from tfsdeploy.protocol.agents import LEASE_SECONDS

_PATH = click.Path(path_type=Path)


@click.command("replica")
@click.option("--name", required=True, help="The replica's name.")
@click.option("--fleet", required=True, help="The fleet's name.")
@click.option("--release", type=_PATH, required=True, help="The release document: .../release.json.")
@click.option("--store", required=True, help="URL of the model store.")
@click.option("--folder", type=_PATH, required=True, help="The agent's own folder; models.config stands there.")
@click.option("--server-rest", required=True, help="host:port of the model server's REST API.")
@click.option("--server-grpc", required=True, help="host:port of the model server's gRPC API.")
@click.option("--advertise-rest", help="The same as gateways reach it.  [default: --server-rest]")
@click.option("--advertise-grpc", help="The same as gateways reach it.  [default: --server-grpc]")
@click.option("--listen", required=True, help="host:port of the agent's status server.")
@click.option(
    "--drain-seconds", type=click.FloatRange(0), default=1.0, show_default=True,
    help="How long requests in flight may take once no gateway sends any more.",
)  # fmt: skip
@click.option("--verified-cache", type=_PATH, help="Remembers what was verified.  [default: in --folder]")
@click.option(
    "--lease-seconds", type=click.FloatRange(0), default=LEASE_SECONDS, show_default=True,
    help="How long a gateway that polled is waited for.",
)  # fmt: skip
def command(
    name: str,
    fleet: str,
    release: Path,
    store: str,
    folder: Path,
    server_rest: str,
    server_grpc: str,
    advertise_rest: str | None,
    advertise_grpc: str | None,
    listen: str,
    drain_seconds: float,
    verified_cache: Path | None,
    lease_seconds: float,
) -> int:
    """Keep one model server's configuration as the release wants it, and tell gateways what it has.

    SIGTERM makes the replica leave: it waits until every gateway has let go of it, and ends.
    """
    from tfsdeploy.agent.replica.agent import Settings
    from tfsdeploy.agent.replica.run import run
    from tfsdeploy.store.store import open_store

    settings = Settings(
        name=name,
        fleet=fleet,
        folder=folder.absolute(),
        server_rest=server_rest,
        rest=advertise_rest or server_rest,
        grpc=advertise_grpc or server_grpc,
        listen=listen,
        drain_seconds=drain_seconds,
        lease_seconds=lease_seconds,
    )
    cache = verified_cache or folder / "verified.json"
    return run(settings, release.absolute(), open_store(store), cache.absolute())
