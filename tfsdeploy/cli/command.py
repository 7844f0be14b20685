"""How a command is declared: its help with examples and exit codes, its JSON fields, and the options all share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.answer import Answer
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.deadline import Deadline, TimeIsUp
from tfsdeploy.cli.impatience import impatient
from tfsdeploy.cli.report import TerminalReport
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import is_namespace

EXITS = {
    0: "done, or already so",
    1: "failed; says what was tried, what state it left, and what to do",
    2: "wrong usage, an invalid fleet file, an unknown model or version",
    3: "changes are pending",
    4: "refused or taken back; traffic is as it was",
    5: "somebody else has it; says who",
    130: "interrupted; says how to continue or abort",
}

Function = Callable[..., Any]

OWN_WORDS_SECONDS = 0.75
"""How much later a command is ended that knows itself what to do when time is up."""


class Command(click.Command):
    """A command that promises the fields of its JSON document before its words are parsed."""

    fields: tuple[str, ...] = ()

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context, after the promise: a wrong usage is answered with the same fields."""
        if parent is not None and isinstance(parent.obj, Answer):
            parent.obj.promise(self.fields)
        return super().make_context(info_name, args, parent, **extra)


def command(
    name: str, *, examples: tuple[str, ...], exits: tuple[int, ...] = (0, 1, 2), fields: tuple[str, ...] = ()
) -> Callable[[Function], Command]:
    """Declare a command.

    Args:
        name: the word after ``tfsdeploy``.
        examples: what is shown under its help, a line each.
        exits: the exit codes it can end with.
        fields: the fields of its JSON document.
    """
    lines = ["\b", "Examples:", *(f"  {example}" for example in examples)]
    lines += ["", "\b", "Exit codes:", *(f"  {code:<4} {EXITS[code]}" for code in exits)]

    def declare(function: Function) -> Command:
        made = click.command(name, cls=Command, epilog="\n".join(lines))(function)
        made.fields = fields
        return made

    return declare


def fleet_options(
    *,
    by_name: bool = False,
    timeout: float | None = None,
    yes: str = "",
    output: bool = True,
    reads: bool = False,
) -> Callable[[Function], Function]:
    """The options that commands share; the function gets a `Call` as its first argument.

    Args:
        by_name: the fleet can also be named, without its file.
        timeout: default of ``--timeout`` in seconds, for a command that knows itself what to do when time is up, and
            is only ended if it hangs; None for one that is only ended.
        yes: what ``--yes`` agrees to; empty for a command that never asks.
        output: the command answers in text or JSON; False for one that declares its own ``-o``.
        reads: the command changes nothing, so that Ctrl-C ends it whatever it waits for.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        @click.pass_obj
        def with_call(answer: Answer, /, **given: Any) -> Any:
            seconds = given.pop("timeout") or 0.0
            given_up = partial(_given_up, seconds, continued=timeout is not None)
            deadline = Deadline()
            call = Call(
                answer=answer,
                file=given.pop("fleet_file"),
                named=given.pop("fleet_name", None),
                kind=given.pop("target", None),
                context=given.pop("context", None),
                namespace=given.pop("namespace", None),
                timeout=seconds,
                yes=given.pop("yes", False),
                deadline=deadline,
                report=TerminalReport(lambda span: deadline.set(span and span + OWN_WORDS_SECONDS)),
                nameable=by_name,
            )
            if output:
                del given["output"]
            try:
                with impatient(answer, given_up, reads=reads), deadline:
                    deadline.set(seconds if timeout is None else seconds + OWN_WORDS_SECONDS)
                    return function(call, **given)
            except TimeIsUp:
                raise given_up() from None

        options = [
            click.option("-f", "--file", "fleet_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                         help="The fleet file.  [default: fleet.yaml here]"),
            click.option("-t", "--target", type=click.Choice(["local", "docker", "kubernetes"]),
                         help="Where the fleet lives.  [default: as its file says, or local]"),
            click.option("--context", metavar="NAME", help="Context of the kubeconfig.  [default: the current one]"),
            click.option("-n", "--namespace", metavar="NAME", callback=_namespace,
                         help="Namespace in the cluster.  [default: as the file says, or the context's]"),
        ]  # fmt: skip
        if by_name:
            options.append(click.option("--fleet", "fleet_name", metavar="NAME", shell_complete=complete.fleets,
                                        help="The fleet, without its file."))  # fmt: skip
        default = None if timeout is None else f"{timeout:g}s"
        options.append(click.option("--timeout", type=words.span, metavar="TIME", default=default, show_default=True,
                                    help="How long to wait." if default else "Give up after this time."))  # fmt: skip
        if yes:
            options.append(click.option("--yes", is_flag=True, help=yes))
        if output:
            options.append(output_option)
        wrapped: Function = with_call
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _namespace(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_namespace(value):
        raise click.BadParameter(f"{value!a}: a-z, 0-9 and -, at most 63, are expected")
    return value


def _given_up(seconds: float, *, continued: bool) -> TfsdeployError:
    hint = "--timeout gives it longer"
    if continued:
        hint += "; `tfsdeploy status` shows how it stands, the same command continues"
    return TfsdeployError(f"not done after {seconds:g} s, so it was given up", hint=hint)


def remember_output(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """Note whether ``-o`` asks for JSON."""
    answer = ctx.find_object(Answer)
    if answer is not None:
        answer.json = value == "json"
    return value


output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
    callback=remember_output, help="How to answer; JSON is a stable contract.",
)  # fmt: skip

model_argument = click.argument("model", shell_complete=complete.models)
version_argument = click.argument("version", type=words.version, shell_complete=complete.versions)
