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
_FULL = "no space left on device"
_DENIED = re.compile(r"cannot bind '(\S+)': Permission denied")

_START = "start it, or let DOCKER_HOST name another; containers that run go on meanwhile"
_CERTIFICATES = (
    "DOCKER_CERT_PATH names a folder with ca.pem, which you trust, and cert.pem and key.pem, which the engine does"
)

_UNANSWERED = (
    (r"CERTIFICATE_VERIFY_FAILED\][^:]*: (.+?)\.? \(_ssl", r"its certificate is not trusted: \1", _CERTIFICATES),
    (
        "ALERT_UNKNOWN_CA|ALERT_BAD_CERTIFICATE|CERTIFICATE_REQUIRED",
        "it does not trust the certificate of this command",
        _CERTIFICATES,
    ),
    (
        "client_cert param|NO_CERTIFICATE_OR_CRL_FOUND|PEM lib|invalid path: .*pem",
        "what DOCKER_CERT_PATH names has no certificates",
        _CERTIFICATES,
    ),
    (
        "HTTP request to an HTTPS server|Connection reset by peer",
        r"\g<0>",
        f"where it asks for TLS, set DOCKER_TLS_VERIFY=1; {_CERTIFICATES}",
    ),
    ("SSLEOFError", "it ended the connection while TLS began", _CERTIFICATES),
    (r"NameResolutionError\(.*host='([^']+)'", r"no address is known for \1", _START),
    (r"Read timed out.*timeout=(\d+)", r"nothing came within \1 s", _START),
    (r"IncompleteRead|RemoteDisconnected|line \d+ column \d+", "it broke off in the middle", _START),
    ("Permission denied", r"\g<0>", f"its group, often `docker`, may use it; {_START}"),
)
"""What a pattern in the words means, and the way out."""

_NO_ADDRESS = re.compile("Invalid bind address|protocol is not implemented|protocol is only supported")


def no_image(image: str, why: str) -> TfsdeployError:
    """What to say when nobody has an image, or the engine no room for it; ``why``: the engine's words."""
    if _FULL in why:
        return refused(why, image)
    reason = next(iter(why.strip().splitlines()), "no reason given")
    own = repository(image).endswith(tuple(map(repository, (AGENT_IMAGE, MODEL_SERVER_IMAGE))))
    hint = "`tfsdeploy image build` makes it" if own else "`docker load` it on the engine's machine"
    return TfsdeployError(
        f"the image {image} is not there and cannot be pulled: {reason}",
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
    if _FULL in said:
        return TfsdeployError("the engine's disk is full", where=name, hint="`docker system df` shows what takes it")
    if "is already in use by container" in said:
        hint = "it is none of this fleet's and stays as it is: rename it, or give the fleet another name"
        return TfsdeployError("a container of this name is there already", where=name, hint=hint)
    if "bind source path does not exist" in said:
        path = said.rpartition("does not exist:")[2].strip()
        hint = "make it there, or name in `store` the folder that has the models on that machine"
        return TfsdeployError(f"the store's folder is not on the engine's machine: {path}", where=name, hint=hint)
    return TfsdeployError(f"the Docker engine refuses: {said}", where=name)


def unanswered(words: str, where: str, ssh: str = "") -> TfsdeployError:
    """What it means that an engine does not answer.

    Args:
        words: those of the SDK, which nests those of the libraries below it.
        where: the engine.
        ssh: what ssh had to say, if it leads there; it is clear as it is.
    """
    if ssh:
        return TfsdeployError(f"the Docker engine does not answer: {ssh}", where=where, hint=_START)
    said = " ".join(words.split()).removeprefix("Error while fetching server API version: ")
    for pattern, why, hint in _UNANSWERED:
        if (found := re.search(pattern, said)) is not None:
            return TfsdeployError(f"the Docker engine does not answer: {found.expand(why)}", where=where, hint=hint)
    if _NO_ADDRESS.search(said) is not None:
        hint = "unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST"
        return TfsdeployError(f"DOCKER_HOST makes no sense: {said[:200]}", where=where, hint=hint)
    inner = re.findall(r"\[Errno \d+\] [^'\")]+|No such file or directory|Connection refused", said)
    why = inner[-1] if inner else said[:200]
    return TfsdeployError(f"the Docker engine does not answer: {why}", where=where, hint=_START)
