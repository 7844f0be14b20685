"""Finds and renders the product's templates: strict Jinja2, where every scalar passes through `quote`."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsdeploy.errors import TfsdeployError

if TYPE_CHECKING:
    from jinja2 import Environment

# YAML 1.2, 5.1, and the line breaks of YAML 1.1; what is below the space is escaped by JSON itself.
_NOT_PRINTABLE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_PACKAGE = Path(__file__).resolve().parent.parent


def folder() -> Path:
    """Where the templates are: inside an installed package, or at the top of a source tree.

    Raises:
        TfsdeployError: neither is there.
    """
    for candidate in (_PACKAGE / "_templates", _PACKAGE.parent / "templates"):
        if candidate.is_dir():
            return candidate
    raise TfsdeployError("the templates are missing", where=str(_PACKAGE), hint="install tfsdeploy again")


def text(name: str) -> str:
    """A file that is used as it is, such as ``envoy/inject.lua``."""
    return (folder() / name).read_text(encoding="utf-8")


def render(name: str, /, **values: Any) -> str:
    """A template's text.

    Args:
        name: path below the templates' folder, such as ``envoy/listeners.yaml.j2``.
        values: what the template may use; anything else that it names is an error.

    Returns:
        The text; equal values give equal bytes.

    Raises:
        jinja2.UndefinedError: the template uses what it was not given.
    """
    return _environment().get_template(name).render(**values)


# `json.dumps` makes one for every call, which is half of what quoting takes.
_JSON = json.JSONEncoder(ensure_ascii=False)


def quote(value: Any) -> str:
    """A scalar or a collection as text that is JSON and YAML, whatever the value holds.

    JSON's own escapes do not do: YAML takes the halves of a surrogate pair for two characters.
    """
    text = _JSON.encode(value)
    return _NOT_PRINTABLE_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def seconds(value: float) -> str:
    """A duration as Protobuf's JSON writes it: ``1.5s``."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"


def dollars(text: str) -> str:
    """Text in which Compose expands nothing: ``$NAME`` stands for a variable, ``$$`` for ``$``."""
    return text.replace("$", "$$")


def below(lines: str, spaces: int) -> str:
    """Lines that begin where the first of them is put: the others get as many spaces."""
    return lines.strip("\n ").replace("\n", "\n" + " " * spaces)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder()),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = quote
    environment.filters["seconds"] = seconds
    environment.filters["dollars"] = dollars
    environment.filters["below"] = below
    return environment
