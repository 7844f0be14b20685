"""`tfsdeploy completion SHELL`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tfsdeploy.cli.command import command as declare


@declare(
    "completion",
    examples=(
        ". <(tfsdeploy completion bash)                      # in this shell",
        "tfsdeploy completion bash > ~/.local/share/bash-completion/completions/tfsdeploy",
        "tfsdeploy completion fish > ~/.config/fish/completions/tfsdeploy.fish",
    ),
    exits=(0, 2),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "tfsdeploy", "_TFSDEPLOY_COMPLETE").source())
