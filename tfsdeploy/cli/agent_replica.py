"""`tfsdeploy agent replica`: the agent beside one model server."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tfsdeploy.protocol.agents import LEASE_SECONDS

_PATH = click.Path(path_type=Path)


@click.command("replica")
@click.option("--name", required=True, help="The replica's name.")
@click.option("--fleet", required=True, help="The fleet's name.")
@click.option("--release", type=_PATH, help="The release document: .../release.json.")
@click.option("--in-cluster", is_flag=True, help="Run in a pod: the release is the ConfigMap FLEET-release.")
@click.option("--store", required=True, help="URL of the model store.")
@click.option("--store-options", default="{}", help="How an object store is reached, as JSON; never a secret.")
@click.option("--credentials", type=_PATH, help="File with what opens an object store.  [default: surroundings]")
@click.option("--models", type=_PATH, help="Where versions of an object store are kept.  [default: in --folder]")
@click.option("--disk", type=int, metavar="BYTES", help="What they may have together.  [default: what the disk has]")
@click.option("--folder", type=_PATH, required=True, help="The agent's own folder; models.config stands there.")
@click.option("--server-rest", required=True, help="host:port of the model server's REST API.")
@click.option("--server-grpc", required=True, help="host:port of the model server's gRPC API.")
@click.option("--advertise", metavar="HOST", help="Where gateways reach both ports.  [default: as the agent does]")
@click.option("--announce", type=_PATH, help="Tell gateways in this folder where the agent is.  [default: others do]")
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
    release: Path | None,
    in_cluster: bool,
    store: str,
    store_options: str,
    credentials: Path | None,
    models: Path | None,
    disk: int | None,
    folder: Path,
    server_rest: str,
    server_grpc: str,
    advertise: str | None,
    announce: Path | None,
    listen: str,
    drain_seconds: float,
    verified_cache: Path | None,
    lease_seconds: float,
) -> int:
    """Keep one model server's configuration as the release wants it, and tell gateways what it has.

    SIGTERM makes the replica leave: it waits until every gateway has let go of it, and ends. A file `leave` in its
    folder does the same, answered by a file `left`; the agent goes on, and stays when `leave` is gone again.
    """
    from tfsdeploy.agent.kubernetes.endpoints import bracketed
    from tfsdeploy.agent.replica.agent import Settings
    from tfsdeploy.agent.replica.run import run
    from tfsdeploy.cli.agent_sources import release_source
    from tfsdeploy.fleet.addresses import is_object_store
    from tfsdeploy.store.store import file_store, trusted_keys

    def at(server: str) -> str:
        return server if advertise is None else f"{bracketed(advertise)}:{server.rpartition(':')[2]}"

    settings = Settings(
        name=name,
        fleet=fleet,
        folder=folder.absolute(),
        server_rest=server_rest,
        rest=at(server_rest),
        grpc=at(server_grpc),
        listen=listen,
        announce=announce,
        drain_seconds=drain_seconds,
        lease_seconds=lease_seconds,
    )
    cache = (verified_cache or folder / "verified.json").absolute()
    source = release_source(fleet, release, in_cluster)
    options = json.loads(store_options)
    trusted = trusted_keys(options)
    if not is_object_store(store):
        return run(settings, source, file_store(store, trusted), cache)
    from tfsdeploy.render.quantities import bytes_of
    from tfsdeploy.store.cache import Cache
    from tfsdeploy.store.fetch import Fetcher
    from tfsdeploy.store.handed import HandedBucket
    from tfsdeploy.store.objects import ObjectStore

    bandwidth = options.get("bandwidth")
    fetcher = Fetcher(
        # Opened when it is needed: what is on this machine is served without it.
        ObjectStore(HandedBucket(store, options, credentials), trusted),
        Cache((models or folder / "models").absolute(), disk),
        None if bandwidth is None else int(bytes_of(bandwidth)),
    )
    return run(settings, source, fetcher.local, cache, fetcher)
