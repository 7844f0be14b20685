"""The kubeconfig, as `kubectl` reads it: the cluster and user of a context, or why there are none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tfsdeploy.errors import TfsdeployError, UsageError

HOME_FILE = "~/.kube/config"

_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading a file that is no kubeconfig; the package checks only some of it."""


def configuration(context: str | None) -> Any:
    """The `kubernetes.client.Configuration` of a context: address, certificates, credentials.

    Args:
        context: its name; None: the current one.

    Raises:
        UsageError: no file, no such context, or the file is none that can be read.
        TfsdeployError: the user's credentials plug-in failed.
    """
    client, config = _package()
    made, heard = client.Configuration(), _Heard()
    root = logging.getLogger()
    root.addHandler(heard)
    try:
        with _told():
            config.load_kube_config(location(), context=context, client_configuration=made)
    finally:
        root.removeHandler(heard)
    if heard.words:
        raise TfsdeployError(
            f"the credentials plug-in of the kubeconfig failed: {heard.words[0]}",
            where=location(),
            hint="install it, or log in anew, as for kubectl",
        )
    return made


def context_entry(wanted: str | None) -> Mapping[str, Any]:
    """A context as the kubeconfig has it.

    Args:
        wanted: its name; None: the current one.

    Raises:
        UsageError: no file, no such context, or the file is none that can be read.
    """
    _, config = _package()
    with _told():
        contexts, active = config.list_kube_config_contexts(location())
        if wanted is None:
            return dict(active)
        found = next((context for context in contexts if context["name"] == wanted), None)
        names = ", ".join(sorted(str(context["name"]) for context in contexts))
    if found is None:
        raise _unknown(f"there is no context {wanted}, but {names}")
    return dict(found)


def location() -> str:
    """The file, or several with colons between them."""
    return os.environ.get("KUBECONFIG") or HOME_FILE


class _Heard(logging.Handler):
    """What the package logs while it reads: it says no more of a plug-in that fails, and goes on without it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "root":
            self.words.append(record.getMessage())


@contextmanager
def _told() -> Iterator[None]:
    """Whatever the package makes of a kubeconfig that leads nowhere, in words."""
    _, config = _package()
    if not any(Path(file).expanduser().exists() for file in location().split(os.pathsep) if file):
        raise _unknown(f"there is no file {location()}")
    try:
        yield
    except config.ConfigException as error:
        raise _unknown(str(error)) from error
    except (OSError, yaml.YAMLError, *_NONSENSE) as error:
        raise _unknown(f"{location()} is no kubeconfig: {' '.join(str(error).split())}") from error


def _package() -> tuple[Any, Any]:
    """The modules of the `kubernetes` package that read what `kubectl` reads."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        hint = "pip install 'tfsdeploy[kubernetes]'"
        raise TfsdeployError("the target kubernetes needs the package kubernetes", hint=hint) from error
    return client, config


def _unknown(words: str) -> UsageError:
    return UsageError(
        f"no cluster is known: {words}",
        hint="KUBECONFIG names a file as for kubectl; --context chooses one of its contexts",
    )
