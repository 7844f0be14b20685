"""`tfsdeploy server`: the embedded model server, with `tensorflow_model_server`'s own flags."""

from __future__ import annotations

import click

from tfsdeploy.cli.command import Command


class PassedOn(Command):
    """Hands every word on, `--help` too: the flags are the model server's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Nothing is parsed here."""
        ctx.args = list(args)
        return []


EXAMPLES = """\b
Examples:
  tfsdeploy server --help    # all flags
  tfsdeploy server --port=8500 --rest_api_port=8501 --model_name=ranker --model_base_path=$PWD/models/ranker
"""


@click.command("server", cls=PassedOn, epilog=EXAMPLES)
@click.pass_context
def command(ctx: click.Context) -> int:
    """Run the embedded model server; takes tensorflow_model_server's flags."""
    from tfsdeploy.server.main import main

    return main(ctx.args)
