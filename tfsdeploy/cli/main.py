"""`tfsdeploy COMMAND`: a command's module is imported when it is asked for; every failure is shown in one place."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from tfsdeploy import __version__
from tfsdeploy.cli.answer import Answer
from tfsdeploy.cli.streams import mend_streams, mute
from tfsdeploy.errors import Interrupted, TfsdeployError, UsageError

# name -> what it does; here, so that `--help` imports none of them.
COMMANDS = {
    "init": "Start a fleet: a commented fleet.yaml and a small example model",
    "validate": "Check a fleet file and tell every problem in it",
    "schema": "Print the JSON Schema of fleet files, for editors",
    "render": "Show what `up` would start, as files for review",
    "diff": "Show what `up` would change, and why",
    "up": "Make the fleet as its file says",
    "down": "End the fleet and remove everything but the store",
    "status": "Show gateways, replicas, versions and traffic",
    "predict": "Ask a model through the gateway",
    "push": "Publish a SavedModel as a version of a model",
    "adopt": "Give a commit record to a version that another tool put into the store",
    "versions": "List a model's versions and where they are loaded",
    "inspect": "Show the signatures of a SavedModel",
    "verify": "Compare the bytes in the store with their commit records",
    "mirror": "Copy versions with their records to another store",
    "gc": "Remove versions that no fleet needs from the store",
    "promote": "Move a model's traffic to a version",
    "rollback": "Move a model's traffic back, at once",
    "history": "Show who changed what, when and why",
    "logs": "Show what replicas and gateways wrote",
    "bench": "Send a model requests at a steady rate and measure",
    "doctor": "Check this machine and this fleet, and say how to mend each trouble",
    "image": "Build the images of a fleet, push them, or load them into kind or minikube",
    "server": "Run the embedded model server",
    "agent": "Run a replica's or a gateway's agent",
    "completion": "Print the completion script of a shell",
}

# Everyday commands are found at once in `--help`; the machinery comes last.
SECTIONS = {
    "Fleet": ("init", "validate", "schema", "render", "diff", "up", "down", "status", "logs", "doctor", "image"),
    "Models": ("push", "adopt", "versions", "inspect", "verify", "mirror", "gc", "predict", "bench"),
    "Release": ("promote", "rollback", "history"),
    "Processes": ("server", "agent", "completion"),
}


class Commands(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"tfsdeploy.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; a word that is none is answered with those that are like it."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = " or ".join(get_close_matches(args[0], COMMANDS, 2))
            if near:
                ctx.fail(f"No such command {args[0]!r}; did you mean {near}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with `tfsdeploy init`, then `tfsdeploy up`. Every command has its own --help with examples.",
)
@click.version_option(__version__, prog_name="tfsdeploy", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error (also TFSDEPLOY_DEBUG=1).")
@click.pass_obj
def cli(answer: Answer, debug: bool) -> None:
    """Many TensorFlow Serving processes behind one address: provision, promote, roll back, drop nothing."""
    answer.debug = answer.debug or debug


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``tfsdeploy``; None for this process's own.

    Returns:
        The exit code: 0 done, 1 failed, 2 usage, 3 changes pending, 4 refused, 5 busy, 130 interrupted.
    """
    mend_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    answer = Answer(json=_asks_json(words), debug=os.environ.get("TFSDEPLOY_DEBUG", "") not in ("", "0"))
    try:
        result = cli.main(args=words, prog_name="tfsdeploy", standalone_mode=False, obj=answer)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(sys.stderr)
        return UsageError.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "tfsdeploy"
        return answer.fail(UsageError(error.format_message().rstrip("."), hint=f"see `{path} --help`"))
    except click.ClickException as error:
        return answer.fail(UsageError(error.format_message().rstrip(".")))
    except (click.Abort, KeyboardInterrupt):
        hint = "nothing was undone; `tfsdeploy status` shows how it stands"
        return answer.fail(Interrupted("interrupted", hint=hint))
    except TfsdeployError as error:
        return answer.fail(error)
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does; Python's own flush at exit must not complain about it.
        mute(sys.stdout)
        return 1
    except OSError as error:
        if error.errno == errno.ENOSPC:
            mute(sys.stdout)
            return answer.fail(TfsdeployError("the answer cannot be written: no space left", where="stdout"))
        # The system's refusal is a reason that its reader can act on; which file it was says where.
        reason = error.strerror or str(error) or type(error).__name__
        return answer.fail(TfsdeployError(reason, where=str(error.filename or "")), error)
    except Exception as error:
        return answer.internal_error(error)


def _asks_json(words: Sequence[str]) -> bool:
    """Whether the words ask for JSON; known before they are parsed, so that a wrong usage is told in JSON too."""
    pairs = zip(words, [*words[1:], ""], strict=False)
    return any(
        word in ("-ojson", "-o=json", "--output=json") or (word in ("-o", "--output") and following == "json")
        for word, following in pairs
    )
