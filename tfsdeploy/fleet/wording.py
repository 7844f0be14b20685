"""How what was found in a fleet file is said: short, printable, and with what a reader would not see."""

from __future__ import annotations

import re

import yaml

from tfsdeploy.fleet.nodes import Node, Refused, Scalar, Series, Table

# YAML 1.2, and Go's readers, which also pass over underscores; PyYAML asks for a point, and a sign in the exponent.
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TO_BASE = re.compile(r"[-+]?0(o?[0-7]+|x[0-9a-f]+|b[01]+)")


def other_reading(text: str, *, numbers: bool = True) -> str | None:
    """What some reader of YAML takes an unquoted ``text`` for if not for text, to be put after it in a message.

    Args:
        text: the scalar as it is written.
        numbers: whether a plain number counts, too; if not, only what looks like another one than it is.

    Returns:
        None if all readers agree that it is text.
    """
    lower = text.lower()
    if text == "~" or lower == "null":
        return ", which YAML reads as nothing"
    if lower in ("y", "n", "yes", "no", "on", "off", "true", "false"):
        return f", which YAML reads as {'true' if lower in ('y', 'yes', 'on', 'true') else 'false'}"
    if _TO_BASE.fullmatch(lower.replace("_", "")) and not text.startswith("_"):
        return ", which YAML may read as octal, hexadecimal or binary"
    tag = next((tag for tag, regexp in _resolvers(text[:1]) if regexp.match(text)), "").rpartition(":")[2]
    if tag in ("int", "float"):
        if ":" in text:
            return ", which YAML reads as a number to base 60"
        if "_" in text:
            return ", which YAML reads as a number without the underscores"
        return ", which YAML reads as a number" if numbers else None
    if tag == "timestamp":
        return ", which YAML reads as a date"
    if numbers and _NUMBER.fullmatch(text.replace("_", "")) and not text.startswith("_"):
        return ", which YAML reads as a number"
    return "" if text == "" else None


def _resolvers(first: str) -> list[tuple[str, re.Pattern[str]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
    return table.get(first, [])


def show(node: Node) -> str:
    """The value found, for a message: short, printable, characters that look like ASCII but are not by code point."""
    match node:
        case Scalar(text=text, quoted=quoted):
            if text == "" and not quoted:
                return "nothing"
            return show_text(text, quoted=quoted)
        case Table(pairs=pairs):
            return "a mapping" if pairs else "an empty mapping"
        case Series():
            return "a list"
        case Refused():
            return "what is refused above"
    return "something else"


def show_text(text: str, *, quoted: bool = True) -> str:
    """``text`` in at most about 100 characters, all of them ASCII or explained."""
    short = text if len(text) <= 40 else text[:37] + "..."
    shown = ascii(short)[1:-1] if not short.isprintable() else short
    odd = next((character for character in short if ord(character) > 127), None)
    if odd is not None:
        import unicodedata

        return f'"{shown}" (with U+{ord(odd):04X} {unicodedata.name(odd, "unnamed")})'
    return f'"{shown}"' if quoted or " " in short else shown


def closest(word: str, words: tuple[str, ...]) -> str | None:
    """What was probably meant, None if nothing comes near."""
    if len(word) > 60:
        return None
    plain = _squeezed(word)
    same = next((known for known in words if _squeezed(known) == plain), None)
    if same is not None:
        return same
    from difflib import get_close_matches

    near = get_close_matches(word, words, n=1, cutoff=0.7)
    return near[0] if near else None


def _squeezed(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")
