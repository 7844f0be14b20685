"""The kinds of values that a fleet file can hold: what each accepts, how it says so, and its JSON Schema.

Only one spelling of a value is right. What YAML 1.1, YAML 1.2 and a reader may take for different things (``no``,
``010``, ``1:30``, ``1_000``, ``7.0`` for 7) is refused with the spelling that all of them agree on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from tfsdeploy.fleet.nodes import Node, Refused, Scalar, Series, Table

REQUIRED: Any = object()
"""Default of a key that must be there."""

ABSENT: Any = object()
"""Default of a key that, when it is not given, is not in the result either."""


class Unfit(Exception):
    """A scalar that is not what its kind wants; the text is the whole message."""


class Word(Protocol):
    """A kind of scalar."""

    @property
    def says(self) -> str:
        """What is right, to be read after "write"."""

    def convert(self, node: Scalar) -> Any:
        """The value. Raises `Unfit`."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the value."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string of one line.

    Attributes:
        says: what is right.
        pattern: what the whole text must match.
        complain: looks closer; the whole message, or None. It is asked first: it may keep a secret out of the message.
    """

    says: str
    pattern: str
    complain: Callable[[str], str | None] = lambda text: None

    def convert(self, node: Scalar) -> str:
        complaint = self.complain(node.text)
        if complaint is not None:
            raise Unfit(complaint)
        trap = None if node.quoted else other_reading(node.text)
        if trap is not None:
            raise Unfit(f'found {show(node)}{trap}; write {self.says}, in quotes if it is meant: "{node.text}"')
        if re.fullmatch(self.pattern, node.text) is None:
            raise Unfit(f"found {show(node)}; write {self.says}")
        return node.text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def says(self) -> str:
        return " or ".join(filter(None, (", ".join(self.words[:-1]), self.words[-1])))

    def convert(self, node: Scalar) -> str:
        if node.text in self.words:
            return node.text
        meant = closest(node.text, self.words)
        raise Unfit(f"found {show(node)}; " + (f"did you mean {meant}?" if meant else f"write {self.says}"))

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``, nothing else that YAML 1.1 takes for them."""

    says = "true or false"

    def convert(self, node: Scalar) -> bool:
        if node.quoted or node.text not in ("true", "false"):
            raise Unfit(f"found {show(node)}; write true or false" + (" without quotes" if node.quoted else ""))
        return node.text == "true"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from ``low`` to ``high``, in digits."""

    low: int
    high: int

    @property
    def says(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def convert(self, node: Scalar) -> int:
        if not node.quoted and re.fullmatch(r"0|-?[1-9][0-9]{0,18}", node.text):
            if self.low <= (value := int(node.text)) <= self.high:
                return value
            raise Unfit(f"found {node.text}; write {self.says}")
        why = ", text in quotes" if node.quoted else other_reading(node.text, numbers=False) or ""
        raise Unfit(f"found {show(node)}{why}; write {self.says}")

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``low`` to ``high``: digits, with a decimal point or without."""

    low: float
    high: float
    unit: str = ""

    @property
    def says(self) -> str:
        unit = f" of {self.unit}" if self.unit else ""
        return f"a number{unit} from {self.low:g} to {self.high:g}"

    def convert(self, node: Scalar) -> float:
        if not node.quoted and re.fullmatch(r"(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?", node.text):
            value = float(node.text)
            if self.low <= value <= self.high:
                return value
        why = ", text in quotes" if node.quoted else other_reading(node.text, numbers=False) or ""
        raise Unfit(f"found {show(node)}{why}; write {self.says}")

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in Kubernetes' notation, kept as it is written.

    Attributes:
        says: what is right.
        units: suffix → how many of the base unit it stands for; "" is the base unit.
        low: the least, in base units.
        high: the most, in base units.
    """

    says: str
    units: Mapping[str, float]
    low: float
    high: float

    def convert(self, node: Scalar) -> str:
        found = re.fullmatch(rf"({self._number})({self._suffixes})", node.text)
        if found is None or not self.low <= float(found[1]) * self.units[found[2]] <= self.high:
            raise Unfit(f"found {show(node)}; write {self.says}")
        return node.text

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": f"^{self._number}({self._suffixes})$"}, {"type": "number"}]}

    @property
    def _number(self) -> str:
        return r"(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,6})?"

    @property
    def _suffixes(self) -> str:
        return "|".join(self.units)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section, declared once: validation, schema and reference page are all made from this.

    Attributes:
        name: as it is written in the file.
        kind: of its value.
        doc: what it is for, one line.
        default: the value if it is not given; `REQUIRED`; `ABSENT`.
        example: a value as it is written, for the page; empty for sections.
        default_says: what the page says of a default that depends on something.
        read_by: the targets that read it; empty: all.
    """

    name: str
    kind: Kind
    doc: str
    default: Any = None
    example: str = ""
    default_says: str = ""
    read_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with known keys.

    Attributes:
        keys: in the order of the reference page.
        made: the dataclass that it becomes; None: it stays a mapping.
        refused: keys that get a reason of their own.
    """

    keys: tuple[Key, ...]
    made: type | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    says = "a mapping"


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping whose keys are names that the user gives.

    Attributes:
        name: what the names must be.
        value: what each of them holds.
        least: how many there must be.
    """

    name: Text
    value: Kind
    least: int = 0
    says = "a mapping"


Kind = Word | Section | Named


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
    if re.fullmatch(r"[-+]?0(o[0-7]+|[0-7]+|x[0-9a-fA-F]+|b[01]+)", text):
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
