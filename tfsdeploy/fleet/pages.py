"""What is made from the grammar for readers: the JSON Schema for editors, and the reference page."""

from __future__ import annotations

from typing import Any

from tfsdeploy.fleet.kinds import ABSENT, REQUIRED, Key, Kind, Listed, Named, Section, inside


def schema_of(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of one kind of value."""
    if isinstance(kind, Section):
        made: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key.name: _property(key) for key in kind.keys},
        }
        required = [key.name for key in kind.keys if key.default is REQUIRED]
        return {**made, "required": required} if required else made
    if isinstance(kind, Named):
        made = {"type": "object", "propertyNames": kind.name.schema(), "additionalProperties": schema_of(kind.value)}
        return {**made, "minProperties": kind.least} if kind.least else made
    if isinstance(kind, Listed):
        return {"type": "array", "items": schema_of(kind.item)}
    return kind.schema()


def _property(key: Key) -> dict[str, Any]:
    plain = isinstance(key.default, (bool, int, float, str))
    return {"description": _sentence(key), **schema_of(key.kind), **({"default": key.default} if plain else {})}


def reference_of(fleet: Section) -> str:
    """The reference page: a table for each section, outermost first."""
    head = [
        "# The fleet file",
        "",
        "Generated from `tfsdeploy/fleet/grammar.py`; `make docs` writes it anew. Examples: `examples/`.",
        "For completion in an editor: `tfsdeploy schema > fleet.schema.json`, and in the file's first line",
        "`# yaml-language-server: $schema=fleet.schema.json`.",
        "",
        "Unknown and duplicate keys, aliases, tags and spellings that YAML readers disagree on (`no`, `010`, `1:30`)",
        "are errors. Secrets are only ever references.",
    ]
    return "\n".join(head) + "\n" + tables_of(fleet)


def tables_of(fleet: Section) -> str:
    """A table for each section of the fleet file, outermost first."""
    return "\n".join(_pages("", fleet)) + "\n"


def _pages(path: str, section: Section) -> list[str]:
    title = f"`{path}`" if path else "Top level"
    lines = ["", f"## {title}", "", "| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key.name}` | {_value(key)} | {_default(key)} | {_sentence(key)} |" for key in section.keys]
    if section.refused:
        lines += ["", "Refused, with the reason:", ""]
        reasons: dict[str, list[str]] = {}
        for name, reason in section.refused.items():
            reasons.setdefault(reason, []).append(f"`{name}`")
        lines += [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    for key in section.keys:
        inner, suffix = inside(key.kind)
        if isinstance(inner, Section):
            lines += _pages(f"{path}.{key.name}{suffix}" if path else f"{key.name}{suffix}", inner)
    return lines


def _value(key: Key) -> str:
    if isinstance(key.kind, Named):
        return f"a mapping; names: {key.kind.name.says}"
    if isinstance(key.kind, Listed):
        return f"a list of: {key.kind.item.says}"
    example = (
        f", such as `{key.example}`"
        if key.example and "such as" not in key.kind.says and key.example not in key.kind.says
        else ""
    )
    return _cell(f"{key.kind.says}{example}")


def _default(key: Key) -> str:
    if key.default is REQUIRED:
        return "required"
    if key.default_says:
        return key.default_says
    if key.default is ABSENT:
        return "the server's"
    if key.default in (None, {}, ()):
        return ""
    plain = (
        {True: "true", False: "false"}.get(key.default, key.default) if isinstance(key.default, bool) else key.default
    )
    return f"`{plain:g}`" if isinstance(plain, float) else f"`{plain}`"


def _sentence(key: Key) -> str:
    read_by = f" Read by: {', '.join(key.read_by)}." if key.read_by else ""
    return _cell(f"{key.doc[0].upper()}{key.doc[1:]}.{read_by}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
