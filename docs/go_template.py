"""Jinja2 templates as Helm's: the same text, macro by macro, so that one set of templates is written by hand.

Only what `templates/kubernetes/` uses is known; anything else is an error here, and not a chart that differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, nodes

PREFIX = "tfsdeploy"


def translated(source: str, name: str, environment: Environment, parts: Mapping[str, nodes.Macro]) -> str:
    """One file of Jinja2 as `define`s of Go's templates: one for each macro, and one for what is outside of them.

    Args:
        source: the text.
        name: what the file's own template is called, after `PREFIX`.
        environment: how the text is to be read.
        parts: the macros of the file that others import as ``parts``.

    Raises:
        ValueError: the text uses what is not known here.
    """
    tree = environment.parse(source)
    macros = {node.name: node for node in tree.body if isinstance(node, nodes.Macro)}
    made = [_Writer(name, macros, parts).define(f"{name}.{key}", macro.body) for key, macro in macros.items()]
    body = [node for node in tree.body if not isinstance(node, (nodes.Macro, nodes.FromImport, nodes.Import))]
    if any(not _blank(node) for node in body):
        made.append(_Writer(name, macros, parts).define(name, body))
    return "\n".join(made)


def macros_of(source: str, environment: Environment) -> dict[str, nodes.Macro]:
    """The macros of a text, by name."""
    return {node.name: node for node in environment.parse(source).body if isinstance(node, nodes.Macro)}


def camel(name: str) -> str:
    """``priority_class`` → ``priorityClass``: what the fleet file, and so the values, call it."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and all(
        isinstance(part, nodes.TemplateData) and not part.data.strip() for part in node.nodes
    )


def _parameters(macro: nodes.Macro) -> list[str]:
    return [argument.name for argument in macro.args]


class _Writer:
    """Writes the templates of one file."""

    def __init__(self, file: str, own: Mapping[str, nodes.Macro], parts: Mapping[str, nodes.Macro]) -> None:
        self._file, self._own, self._parts = file, own, parts
        self._loops: list[str] = []
        self._text = ""

    def define(self, name: str, body: Sequence[nodes.Node]) -> str:
        self._text = ""
        self._body(body)
        return f'{{{{- define "{PREFIX}.{name}" -}}}}\n{self._text.strip(chr(10))}\n{{{{- end }}}}\n'

    def _body(self, body: Sequence[nodes.Node]) -> None:
        for node in body:
            self._statement(node)

    def _tag(self, words: str) -> None:
        # Jinja2 takes the line break after a statement away; Go's templates the one before, if they are told to.
        self._text += f"{{{{- {words} }}}}\n" if self._text.endswith("\n") or not self._text else f"{{{{ {words} }}}}"

    def _statement(self, node: nodes.Node) -> None:
        match node:
            case nodes.Output():
                for part in node.nodes:
                    plain = isinstance(part, nodes.TemplateData)
                    self._text += part.data if plain else f"{{{{ {_bare(self._value(part))} }}}}"
            case nodes.If():
                for word, branch in (("if", node), *(("else if", other) for other in node.elif_)):
                    self._tag(f"{word} {_bare(self._value(branch.test))}")
                    self._body(branch.body)
                if node.else_:
                    self._tag("else")
                    self._body(node.else_)
                self._tag("end")
            case nodes.For():
                targets = node.target.items if isinstance(node.target, nodes.Tuple) else [node.target]
                names = [target.name for target in targets]
                self._tag(f"range {', '.join('$' + name for name in names)} := {self._value(node.iter)}")
                self._loops += names
                self._body(node.body)
                del self._loops[-len(names) :]
                self._tag("end")
            case nodes.Assign(target=nodes.Name(name=name)):
                self._tag(f"$_ := set $ {json.dumps(camel(name))} {self._value(node.node)}")
            case _:
                raise ValueError(f"{self._file}: {type(node).__name__} in line {node.lineno} has no counterpart")

    def _value(self, node: nodes.Node) -> str:
        match node:
            case nodes.Const():
                return "nil" if node.value is None else json.dumps(node.value)
            case nodes.Name():
                return f"${node.name}" if node.name in self._loops else f"$.{camel(node.name)}"
            case nodes.Getattr():
                return f"{self._value(node.node)}.{camel(node.attr)}"
            case nodes.Tuple() | nodes.List():
                return f"(list {' '.join(map(self._value, node.items))})"
            case nodes.Dict():
                pairs = (f"{self._value(pair.key)} {self._value(pair.value)}" for pair in node.items)
                return f"({' '.join(['dict', *pairs])})"
            case nodes.Concat():
                return f"(printf {json.dumps('%s' * len(node.nodes))} {' '.join(map(self._value, node.nodes))})"
            case nodes.Or():
                return f"(or {self._value(node.left)} {self._value(node.right)})"
            case nodes.And():
                return f"(and {self._value(node.left)} {self._value(node.right)})"
            case nodes.Not():
                return f"(not {self._value(node.node)})"
            case nodes.Test(name="none"):
                return f'(kindIs "invalid" {self._value(node.node)})'
            case nodes.Compare(ops=[nodes.Operand(op="eq", expr=expr)]):
                return f"(eq {self._value(node.expr)} {self._value(expr)})"
            case nodes.CondExpr():
                values = (node.expr1, node.expr2, node.test)
                return f"(ternary {' '.join(self._value(value) for value in values if value is not None)})"
            case nodes.Filter():
                return self._filter(node)
            case nodes.Call():
                return self._call(node)
        raise ValueError(f"{self._file}: {type(node).__name__} in line {node.lineno} has no counterpart")

    def _filter(self, node: nodes.Filter) -> str:
        assert node.node is not None
        value = self._value(node.node)
        match node.name, node.args:
            case "quote", []:
                return f"({_bare(value)} | toRawJson)"
            case "dictsort", [_]:
                return value
            case "replace", [old, new]:
                return f"(replace {self._value(old)} {self._value(new)} {value})"
            case "below", [nodes.Const(value=spaces)]:
                trimmed = f'{_bare(value)} | trimAll "\\n "'
                indent = f" | replace {json.dumps(chr(10))} {json.dumps(chr(10) + ' ' * spaces)}" if spaces else ""
                return f"({trimmed}{indent})"
        raise ValueError(f"{self._file}: the filter {node.name} in line {node.lineno} has no counterpart")

    def _call(self, node: nodes.Call) -> str:
        match node.node:
            case nodes.Getattr(node=nodes.Name(name="parts"), attr=name):
                file, macro = "parts", self._parts[name]
            case nodes.Name(name=name) if name in self._own:
                file, macro = self._file, self._own[name]
            case _:
                raise ValueError(f"{self._file}: the call in line {node.lineno} has no counterpart")
        names = _parameters(macro)
        given: dict[str, nodes.Node] = dict(zip(names[len(names) - len(macro.defaults) :], macro.defaults, strict=True))
        given |= dict(zip(names, node.args, strict=False)) | {word.key: word.value for word in node.kwargs}
        values = {camel(key): self._value(given[key]) for key in names}
        # A macro sees what its file was given, too.
        used = {found.name for found in macro.find_all(nodes.Name) if found.ctx == "load"} - set(names)
        own = {found.name for found in macro.find_all(nodes.Name) if found.ctx == "store"} | set(self._macros_of(file))
        values |= {camel(key): f"$.{camel(key)}" for key in sorted(used - own - {"parts"})}
        pairs = " ".join(f"{json.dumps(key)} {value}" for key, value in values.items())
        return f'(include "{PREFIX}.{file}.{name}" (dict {pairs}))'

    def _macros_of(self, file: str) -> Mapping[str, Any]:
        return self._parts if file == "parts" else self._own


def _bare(value: str) -> str:
    """Without the outermost parentheses, where nothing is beside it."""
    if not (value.startswith("(") and value.endswith(")")):
        return value
    depth, quoted, escaped = 0, False, False
    for index, sign in enumerate(value):
        if quoted:
            quoted, escaped = escaped or sign != '"', sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        else:
            depth += (sign == "(") - (sign == ")")
            if depth == 0 and index < len(value) - 1:
                return value
    return value[1:-1]
