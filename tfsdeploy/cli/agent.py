"""`tfsdeploy agent`: the processes that stand beside model servers and Envoys; `up` starts them."""

from __future__ import annotations

from importlib import import_module

import click

AGENTS = {
    "replica": "The agent beside one model server",
    "gateway": "The agent beside one Envoy",
    "pins": "The Job that waits until a commit's pins are effective",
    "state": "The state of a fleet in a volume of Docker",
}


class Agents(click.Group):
    """Imports an agent only when it is called: each is to stay small."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every agent."""
        return list(AGENTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The agent's command, imported now; None if there is none of this name."""
        if cmd_name not in AGENTS:
            return None
        command = import_module(f"tfsdeploy.cli.agent_{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, from the table alone."""
        with formatter.section("Agents"):
            formatter.write_dl(list(AGENTS.items()))


@click.group("agent", cls=Agents)
def command() -> None:
    """Run a replica's or a gateway's agent. `tfsdeploy up` does that; by hand it is for debugging.

    \b
    Example:
      tfsdeploy agent replica --help
    """
