"""Other people's programs, run to their end: what they printed, or why they failed and what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tfsdeploy.errors import TfsdeployError

_WAYS_OUT = {
    "Cannot connect to the Docker daemon": "start the engine, or set DOCKER_HOST or `docker context use`",
    "unknown command: docker buildx": "install docker's buildx plug-in, or build without --platform",
    "is not a docker command": "install docker's buildx plug-in, or build without --platform",
    "denied": "log in to the registry: docker login",
    "unauthorized": "log in to the registry: docker login",
    "no such host": "does this machine reach the registry, and is imageRegistry of the fleet file right?",
    "No such image": "build it first: tfsdeploy image build",
    "does not exist locally": "build it first: tfsdeploy image build",
    "no space left": "make room: docker system prune",
}
"""What docker, kind and minikube say -> what helps."""


def run(words: Sequence[str], folder: Path | None = None) -> str:
    """What a program printed.

    Args:
        words: the program and its arguments.
        folder: where it runs; None: here.

    Raises:
        TfsdeployError: it is not there, or failed: its last words, and the way out.
    """
    try:
        done = subprocess.run(
            words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise TfsdeployError(
            f"the program {words[0]} is not there", hint="install it, or put it on the PATH"
        ) from error
    if done.returncode == 0:
        return done.stdout
    said = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
    hint = next((way for known, way in _WAYS_OUT.items() if known in said), "these are the program's own words")
    raise TfsdeployError(f"`{' '.join(words)}` failed: {said or f'it ended with {done.returncode}'}", hint=hint)
