"""Edits of a fleet file in place: what is asked for changes, every other character stays.

Places come from the tree, so comments, order, quotes and line ends are not even looked at. Each result is read again
and compared with what was meant before it is returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import Canary, Model
from tfsdeploy.fleet.nodes import Node, Problems, Table, read_tree

Change = Callable[[str, Table], str]
"""The whole text and the model's place in it → the text with one thing changed."""


def set_pin(text: str, model: str, version: int, *, file: str = "fleet.yaml") -> str:
    """The text with ``model`` pinned to ``version``.

    What would make no sense any more follows: labels that named the pinned version before name the new one, and a
    canary of the new version ends.

    Args:
        text: a valid fleet file.
        model: its name; the file must have it.
        version: the version, from 1.
        file: the file's path, for messages.

    Raises:
        InvalidFile: the text is not a valid fleet file.
        UsageError: the file has no such model.
        TfsdeployError: the place is written in a way that cannot be edited safely.
    """
    before = _model(text, model, file)
    wanted = replace(before, version=version)
    if before.canary is not None and before.canary.version == version:
        wanted = replace(wanted, canary=None)
    labels = {name: version if target == before.version else target for name, target in before.labels.items()}
    return _edited(text, model, before, replace(wanted, labels=labels), file)


def set_canary(text: str, model: str, version: int, weight: int, *, file: str = "fleet.yaml") -> str:
    """The text with a canary of ``model``; labels of another canary that was there go with it.

    Args:
        text: a valid fleet file.
        model: its name; its version must be pinned, to another one.
        version: the canary's version, from 1.
        weight: its share, 1 to 99 percent.
        file: the file's path, for messages.

    Raises:
        InvalidFile: the text is not a valid fleet file.
        UsageError: the file has no such model, does not pin it, pins it to ``version``, or keeps only one version.
        TfsdeployError: the place is written in a way that cannot be edited safely.
    """
    before = _model(text, model, file)
    refused = ""
    if before.version is None or before.version == version:
        refused = "does not pin its version" if before.version is None else f"pins it to version {version}"
    elif parse_fleet(text, file).serving.keep < 1:
        refused = "keeps no second version loaded (serving.keep: 0)"
    if refused:
        raise UsageError(f"model {model} cannot have a canary of version {version}: the file {refused}", where=file)
    return _edited(text, model, before, _with_canary(before, Canary(version, weight)), file)


def clear_canary(text: str, model: str, *, file: str = "fleet.yaml") -> str:
    """The text without a canary of ``model``, and without the labels that named it; the same text if there is none.

    Raises:
        InvalidFile: the text is not a valid fleet file.
        UsageError: the file has no such model.
        TfsdeployError: the place is written in a way that cannot be edited safely.
    """
    before = _model(text, model, file)
    return _edited(text, model, before, _with_canary(before, None), file)


def _with_canary(model: Model, canary: Canary | None) -> Model:
    known = {model.version, canary.version if canary else None}
    return replace(
        model, canary=canary, labels={name: target for name, target in model.labels.items() if target in known}
    )


def _model(text: str, name: str, file: str) -> Model:
    fleet = parse_fleet(text, file)
    if name not in fleet.models:
        raise UsageError(
            f"there is no model {name} in the fleet file", where=file, hint=f"it has {', '.join(fleet.models)}"
        )
    return fleet.models[name]


def _edited(text: str, name: str, before: Model, after: Model, file: str) -> str:
    """The text with one model changed, proven by reading it again."""
    if before == after:
        return text
    meant = parse_fleet(text, file)
    meant = replace(meant, models={**meant.models, name: after})
    edited = text
    try:
        for change in _changes(before, after):
            edited = change(edited, _model_table(edited, name, file))
        proven = parse_fleet(edited, file) == meant
    except (UsageError, LookupError):
        proven = False
    if not proven:
        raise TfsdeployError(
            f"model {name} is written in a way that cannot be edited safely; the file is as it was",
            where=file,
            hint="make this change in the file yourself",
        )
    return edited


def _changes(before: Model, after: Model) -> Iterator[Change]:
    """The single changes that lead from one to the other, each to be made in the text that the one before left."""
    if after.version != before.version:
        yield _set("version", number=after.version) if before.version is not None else _add_version(after.version)
    if after.canary is None and before.canary is not None:
        yield _drop("canary")
    elif after.canary is not None and before.canary is None:
        yield _add_canary(after.canary)
    elif after.canary is not None and after.canary != before.canary:
        yield _set("canary", "version", number=after.canary.version)
        yield _set("canary", "weight", number=after.canary.weight)
    if before.labels and not after.labels:
        yield _drop("labels")
        return
    for label, version in before.labels.items():
        if label not in after.labels:
            yield _drop("labels", label)
        elif after.labels[label] != version:
            yield _set("labels", label, number=after.labels[label])


def _set(*path: str, number: int | None) -> Change:
    """Another number under a key that is there."""

    def change(text: str, model: Table) -> str:
        _, value = _pair(_inside(model, path[:-1]), path[-1])
        return _spliced(text, value.start, value.end, str(number))

    return change


def _drop(*path: str) -> Change:
    """Take a key out: with its lines where it has lines of its own, otherwise with the comma beside it."""

    def change(text: str, model: Table) -> str:
        table = _inside(model, path[:-1])
        names = [key.text for key, _ in table.pairs]
        index = names.index(path[-1])
        key, value = table.pairs[index]
        if table.flow and index > 0 and _is_gap(text[table.pairs[index - 1][1].end : key.start]):
            return _spliced(text, table.pairs[index - 1][1].end, value.end)
        if table.flow and index + 1 < len(names) and _is_gap(text[value.end : table.pairs[index + 1][0].start]):
            return _spliced(text, key.start, table.pairs[index + 1][0].start)
        if table.flow and len(names) == 1:
            return _spliced(text, key.start, value.end)
        end = _last(value) + _comma_after(text, _last(value))
        line = _start_of_line(text, key.start)
        if text[line : key.start].strip(" ") == "" and text[end : end + 1] in ("", "#", "\r", "\n"):
            return _spliced(text, line, _after_line(text, end))
        return _spliced(text, key.start, end)

    return change


def _add_version(version: int | None) -> Change:
    def change(text: str, model: Table) -> str:
        pin = f"version: {version}"
        if not model.pairs:
            return _spliced(text, model.start + 1, model.start + 1, pin)
        first = model.pairs[0][0]
        separator = ", " if model.flow else _line_end(text) + " " * (first.column - 1)
        return _spliced(text, first.start, first.start, pin + separator)

    return change


def _add_canary(canary: Canary) -> Change:
    def change(text: str, model: Table) -> str:
        written = f"canary: {{version: {canary.version}, weight: {canary.weight}}}"
        key, value = _pair(model, "version")
        if model.flow:
            return _spliced(text, value.end, value.end, f", {written}")
        end = _end_of_line(text, value.end)
        return _spliced(text, end, end, _line_end(text) + " " * (key.column - 1) + written)

    return change


def _spliced(text: str, start: int, end: int, new: str = "") -> str:
    return text[:start] + new + text[end:]


def _is_gap(between: str) -> bool:
    """Whether two pairs of a flow mapping stand beside each other in one line."""
    return between.strip(" \t") == ","


def _comma_after(text: str, index: int) -> int:
    """How much of what follows a pair belongs to it: a comma, and the blanks around it."""
    found = re.compile(r"[ \t]*,?[ \t]*").match(text, index)
    return len(found.group()) if found else 0


def _last(node: Node) -> int:
    """Where the last character of a value stands: a block mapping's own end is where the next thing begins."""
    if isinstance(node, Table) and not node.flow and node.pairs:
        return _last(node.pairs[-1][1])
    return node.end


def _start_of_line(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _end_of_line(text: str, index: int) -> int:
    """Before the line's end, whichever kind it is."""
    end = text.find("\n", index)
    if end < 0:
        return len(text)
    return end - 1 if text[end - 1 : end] == "\r" else end


def _after_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _pair(table: Table, name: str) -> tuple[Node, Node]:
    for key, value in table.pairs:
        if key.text == name:
            return key, value
    raise LookupError(name)


def _inside(table: Table, path: tuple[str, ...]) -> Table:
    """The mapping at a path; a valid file has it."""
    for name in path:
        _, inner = _pair(table, name)
        assert isinstance(inner, Table)
        table = inner
    return table


def _model_table(text: str, name: str, file: str) -> Table:
    root = read_tree(text, Problems(file))
    assert isinstance(root, Table)
    return _inside(root, ("models", name))
