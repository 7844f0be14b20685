"""The kinds of values that a fleet file can hold: what each accepts, how it says so, and its JSON Schema.

Only one spelling of a value is right. What YAML 1.1, YAML 1.2 and a reader may take for different things (``no``,
``010``, ``1:30``, ``1_000``, ``7.0`` for 7) is refused with the spelling that all of them agree on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tfsdeploy.fleet.nodes import Scalar
from tfsdeploy.fleet.wording import closest, other_reading, show, show_text

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
        never: a pattern of what `complain` complains about, for the schema; empty: it says nothing of it.
    """

    says: str
    pattern: str
    complain: Callable[[str], str | None] = lambda text: None
    never: str = ""

    def convert(self, node: Scalar) -> str:
        complaint = self.complain(node.text)
        if complaint is not None:
            raise Unfit(complaint)
        trap = None if node.quoted else other_reading(node.text)
        if trap is not None:
            raise Unfit(
                f"found {show(node)}{trap}; write {self.says}, in quotes if it is meant: {show_text(node.text)}"
            )
        if re.fullmatch(self.pattern, node.text) is None:
            raise Unfit(f"found {show(node)}; write {self.says}")
        return node.text

    def schema(self) -> dict[str, Any]:
        made = {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        return {**made, "not": {"pattern": self.never}} if self.never else made


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
    """An amount in Kubernetes' notation, kept as it is written; a plain number as every reader of YAML spells it.

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
        if not node.quoted and not found[2] and "." in node.text:
            # ``0.50`` without quotes is the number 0.5: whoever reads it so, as Helm does, does not know of the zero.
            return repr(float(node.text)).removesuffix(".0")
        return node.text

    def schema(self) -> dict[str, Any]:
        plain = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [{"type": "string", "pattern": f"^{self._number}({self._suffixes})$"}, plain]}

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


@dataclass(frozen=True, slots=True)
class Listed:
    """A list, kept in the order in which it is written.

    Attributes:
        item: what each entry is.
    """

    item: Kind
    says = "a list"


Kind = Word | Section | Named | Listed


def inside(kind: Kind) -> tuple[Kind, str]:
    """What a value holds, and how that is spelled in a path: the entries of a mapping or list, otherwise itself."""
    if isinstance(kind, Named):
        return kind.value, ".NAME"
    if isinstance(kind, Listed):
        return kind.item, "[]"
    return kind, ""
