"""`tfsdeploy image`: the images of a fleet that this product makes."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import TfsdeployError, UsageError


@declare(
    "image",
    examples=(
        "tfsdeploy image build",
        "tfsdeploy image build --platform linux/amd64 --platform linux/arm64 --push",
        "tfsdeploy image push",
        "tfsdeploy image load --context kind-test",
    ),
    exits=(0, 1, 2, 130),
    fields=("images",),
)
@click.argument("action", type=click.Choice(["build", "push", "load"]))
@click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Instead of the engine's; needs buildx."
)
@click.option("--push", "pushed", is_flag=True, help="With build: push what was built.")
@fleet_options()
def command(call: Call, action: str, platforms: tuple[str, ...], pushed: bool) -> None:
    """Build the agents' image and the embedded model server's, push them, or load them into kind or minikube.

    Names, registry and tags are those of the fleet file. They are built from this very installation by the `docker` of
    this machine. `tfsdeploy up` loads what a kind or minikube cluster lacks by itself.
    """
    from tfsdeploy.deploy import images

    if action != "build" and (platforms or pushed):
        raise UsageError("--platform and --push belong to `image build`")
    own = images.own_images(call.fleet)
    if pinned := [image.name for image in own if "@" in image.name and action != "load"]:
        hint = "name it by its tag to build and push it, and write the digest that the registry gives it afterwards"
        raise UsageError(f"{pinned[0]} is named by its digest, which only an image has that is built", hint=hint)
    if action == "build":
        images.build(own, platforms, call.report, pushed=pushed)
    elif action == "push":
        images.push(own, call.report)
    else:
        _load(call, [image.name for image in own])
    call.report.clear()
    call.answer.give({"images": [image.name for image in own]})
    if not call.answer.json:
        click.echo("\n".join(image.name for image in own))


def _load(call: Call, names: list[str]) -> None:
    from tfsdeploy.targets.kubernetes.connection import Connection, Place
    from tfsdeploy.targets.kubernetes.load import in_engine, load, local_cluster

    entry = Connection(Place(call.context)).context_entry
    cluster = local_cluster(entry)
    if cluster is None:
        raise UsageError(
            "this context is neither kind's nor minikube's", where=str(entry["name"]), hint="tfsdeploy image push"
        )
    missing = [name for name in names if not in_engine(name)]
    if missing:
        raise TfsdeployError(
            f"the local engine does not have {', '.join(missing)}", hint="build it first: tfsdeploy image build"
        )
    load(cluster, names, call.report)
