"""A fleet's status as text: columns that line up, colour only where it may be."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tfsdeploy.cli.answer import colours, paint

BAR = 20
GOOD, BUSY, BAD = "32", "33", "31"
STATE_COLOURS = {"AVAILABLE": GOOD, "FAILED": BAD}


def status_text(document: Mapping[str, Any]) -> str:
    """The document of `status` as text, with a line for every trouble."""
    word = painted("healthy", GOOD) if document["healthy"] else painted("not healthy", BAD)
    lines = [f"{document['fleet']} on {document['target']}, generation {document['generation']}: {word}"]
    lines += [*([f"its shape is owned by {document['owner']}"] if document["owner"] else []), ""]
    lines += columns(("MODEL", "TRAFFIC", "LOADED", "PREVIOUS", "CHANGE"), model_rows(document))
    lines += ["", *columns(("GATEWAY", "READY", "REST", "GRPC", "BEHIND"), gateway_rows(document))]
    lines += ["", *columns(("REPLICA", "READY", "GENERATION", "VERSIONS"), replica_rows(document))]
    if document["troubles"]:
        lines += ["", *(f"{painted('!', BAD)} {trouble}" for trouble in document["troubles"])]
    if document["stays"]:
        lines += ["", *(f"{painted('-', BUSY)} {words}" for words in document["stays"])]
    if document["waiting"]:
        names = ", ".join(document["waiting"])
        begins = "a first `promote`" if document["owner"] else "`up` or a first `promote`"
        lines += ["", f"{painted('-', BUSY)} no version yet, until {begins}: {names}"]
    return "\n".join(lines) + "\n"


def model_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row a model: its wanted split, what is loaded, where a rollback would go, and what is under way."""
    rows: list[tuple[str, ...]] = []
    for name, model in document["models"].items():
        rollout = model["rollout"]
        change = f"to {rollout['to']}, step {rollout['step']} of {len(rollout['steps'])}" if rollout else "-"
        previous = "-" if model["previous"] is None else str(model["previous"])
        rows.append((name, split_words(model["traffic"]), " ".join(map(str, model["loaded"])), previous, change))
    return rows


def gateway_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row a gateway: its addresses, and the models for which it waits."""
    rows: list[tuple[str, ...]] = []
    for gateway in document["gateways"]:
        waiting = [
            f"{name}: {replica} {why}"
            for name, m in gateway["models"].items()
            for replica, why in m["waitingFor"].items()
        ]
        rows.append(
            (gateway["name"], yes(gateway["ready"]), gateway["rest"], gateway["grpc"], "; ".join(waiting) or "-")
        )
    return rows


def replica_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row a replica and model: the state of each version."""
    rows: list[tuple[str, ...]] = []
    for replica in document["replicas"]:
        generation = "-" if replica["generation"] is None else str(replica["generation"])
        head = (replica["name"], yes(replica["ready"]), generation)
        models = replica["models"] or {"": {}}
        for name, versions in models.items():
            states = "  ".join(version_words(number, row) for number, row in versions.items())
            nothing = painted("no answer", BAD) if replica["generation"] is None else "-"
            rows.append((*head, f"{name}: {states}" if name else nothing))
            head = ("", "", "")
    return rows


def version_words(number: str, row: Mapping[str, Any]) -> str:
    """One version on one replica: ``7 AVAILABLE``, ``8 FETCHING 45%``."""
    share = f" {100 * (row['done'] or 0) // row['total']}%" if row["total"] else ""
    return f"{number} {painted(row['state'], STATE_COLOURS.get(row['state'], BUSY))}{share}"


def split_words(traffic: Mapping[str, int]) -> str:
    """A split with a bar: ``███░ 7:75 8:25``."""
    if not traffic:
        return "-"
    shades = "█▒░·"
    bar = "".join(shades[min(i, 3)] * round(BAR * share / 100) for i, share in enumerate(traffic.values()))
    return f"{bar:<{BAR}} " + " ".join(f"{version}:{share}" for version, share in traffic.items())


def yes(value: bool) -> str:
    """``yes`` or ``no``, in a colour."""
    return painted("yes", GOOD) if value else painted("no", BAD)


def painted(text: str, code: str) -> str:
    """Coloured for stdout, if it may be."""
    return paint(text, code, sys.stdout)


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns line up; colours do not count as width."""
    table = [tuple(paint(head, "1", sys.stdout) for head in heads), *rows]
    widths = [max(_width(row[i]) for row in table) for i in range(len(heads))]
    return ["  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table]  # fmt: skip


def _width(cell: str) -> int:
    if not colours(sys.stdout):
        return len(cell)
    plain = cell
    while "\x1b[" in plain:
        start = plain.index("\x1b[")
        plain = plain[:start] + plain[plain.index("m", start) + 1 :]
    return len(plain)
