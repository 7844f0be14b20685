"""What an engine's refusals mean, in one clear line with a way out. Pure."""

from __future__ import annotations

import re

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.grammar import AGENT_IMAGE, MODEL_SERVER_IMAGE
from tfsdeploy.render.images import repository

_BUSY = re.compile(
    r"Bind for (\S+) failed: port is already allocated|listen tcp\d? (\S+): bind: address already in use"
    # Envoy's own words, where it listens at the host itself.
    r"|cannot bind '(\S+)': Address already in use"
)
_DENIED = re.compile(r"cannot bind '(\S+)': Permission denied")


def no_image(image: str, why: str) -> TfsdeployError:
    """What to say when nobody has an image; ``why``: the engine's words."""
    own = repository(image).endswith(tuple(map(repository, (AGENT_IMAGE, MODEL_SERVER_IMAGE))))
    hint = "`tfsdeploy image build` makes it" if own else "`docker load` it on the engine's machine"
    return TfsdeployError(
        f"the image {image} is not there and cannot be pulled: {why.strip().splitlines()[0]}",
        hint=f"{hint}, or choose another one in the fleet file",
    )


def busy_port(said: str, where: str) -> TfsdeployError | None:
    """What to say if these words say that a port is in use, or may not be had; None if they do not."""
    if (denied := _DENIED.search(said)) is not None:
        hint = "choose ports of 1024 and above in gateway.rest and gateway.grpc, or gateway.network: bridge"
        return TfsdeployError(f"only root may listen at {denied[1]} of the host", where=where, hint=hint)
    busy = _BUSY.search(said)
    if busy is None:
        return None
    hint = "choose others in gateway.rest and gateway.grpc, or end what listens there"
    return TfsdeployError(f"the port {busy[1] or busy[2] or busy[3]} is in use", where=where, hint=hint)


def refused(words: str, name: str) -> TfsdeployError:
    """What a refusal means.

    Args:
        words: the engine's.
        name: the container or other thing that it is about; empty if none.
    """
    said = " ".join(words.split())
    if (busy := busy_port(said, name)) is not None:
        return busy
    if "no space left on device" in said:
        return TfsdeployError("the engine's disk is full", where=name, hint="`docker system df` shows what takes it")
    if "is already in use by container" in said:
        hint = "it is none of this fleet's and stays as it is: rename it, or give the fleet another name"
        return TfsdeployError("a container of this name is there already", where=name, hint=hint)
    if "bind source path does not exist" in said:
        path = said.rpartition("does not exist:")[2].strip()
        hint = "make it there, or name in `store` the folder that has the models on that machine"
        return TfsdeployError(f"the store's folder is not on the engine's machine: {path}", where=name, hint=hint)
    return TfsdeployError(f"the Docker engine refuses: {said}", where=name)


def short(error: Exception) -> str:
    """The reason inside an error of the SDK, which nests those of the libraries below it."""
    text = " ".join(str(error).split())
    inner = re.findall(r"\[Errno \d+\] [^'\")]+|No such file or directory|Permission denied|Connection refused", text)
    return inner[-1] if inner else text[:200]
