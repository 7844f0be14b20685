"""Writes docs/commands.md from the commands' own help: `python -m tfsdeploy.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tfsdeploy.cli.command import EXITS
from tfsdeploy.cli.main import SECTIONS, cli

PAGE = Path("docs/commands.md")


def page() -> str:
    """The whole page."""
    root = click.Context(cli, info_name="tfsdeploy", max_content_width=100, help_option_names=["-h", "--help"])
    lines = ["# Commands", "", "Generated from `--help`; `make docs` writes it anew.", ""]
    lines += [
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in EXITS.items()),
        "",
    ]
    lines += ["`-o json` prints exactly one document on stdout; its schemas are in `docs/schemas/`.", ""]
    for title, names in SECTIONS.items():
        lines += [f"## {title}", ""]
        for name in names:
            command = cli.get_command(root, name)
            assert command is not None
            lines += _command(command, name, root)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    yield f"### `tfsdeploy {path}`"
    yield ""
    context = click.Context(
        command, info_name=path.split()[-1], parent=parent, max_content_width=100, terminal_width=100
    )
    yield "```text"
    yield command.get_help(context)
    yield "```"
    yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, f"{path} {name}", context)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
