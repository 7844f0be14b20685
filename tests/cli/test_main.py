"""Usage, failures and help: the same for every command."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Run
from tfsdeploy import __version__
from tfsdeploy.cli import reference
from tfsdeploy.cli.command import EXITS
from tfsdeploy.cli.main import COMMANDS, SECTIONS, cli

OWN_HELP = sorted(COMMANDS.keys() - {"server", "agent"})
HEAVY = ("tensorflow", "grpc", "aiohttp", "requests", "jinja2", "rich", "google.protobuf", "yaml", "numpy")


def test_version(run: Run) -> None:
    assert run("--version").out == f"tfsdeploy {__version__}\n"


def test_every_command_is_in_one_section() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize("name", OWN_HELP)
def test_help_has_examples_and_exit_codes(name: str, run: Run) -> None:
    shown = run(name, "--help")
    assert shown.code == 0
    assert f"  tfsdeploy {name}" in shown.out.split("Examples:")[1]
    codes = re.findall(r"^    (\d+) ", shown.out.split("Exit codes:")[1], re.MULTILINE)
    assert {int(code) for code in codes} <= EXITS.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("promot",), "No such command 'promot'; did you mean promote?"),
        (("deploy",), "No such command 'deploy'"),
        (("rollback",), "Missing argument 'MODEL'"),
        (("rollback", "m", "--to", "0"), "'0' is no version"),
        (("status", "-o", "yaml"), "Invalid value for '-o' / '--output': 'yaml' is not one of 'text', 'json'"),
        (("status", "--nope"), "No such option '--nope'"),
        (("status", "-f", "gone.yaml"), "there is no such file"),
        (
            ("status", "--fleet", "gone"),
            "fleet gone is not up\n  hint: up on this machine: none; for a fleet elsewhere",
        ),
    ],
)
def test_wrong_usage(words: tuple[str, ...], message: str, run: Run) -> None:
    shown = run(*words)
    assert shown.code == 2
    assert message in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("option", [("-o", "json"), ("--output", "json"), ("--output=json",), ("-ojson",)])
def test_a_failure_is_one_document_with_the_promised_fields(option: tuple[str, ...], run: Run) -> None:
    for words, schema in ((("rollback", *option), "rollback"), (("status", "--fleet", "gone", *option), "status")):
        shown = run(*words)
        document = shown.document(schema)
        error = document.pop("error")
        assert (shown.code, error["code"]) == (2, 2)
        assert error["message"] in shown.err
        assert set(document.values()) <= {None}


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    shown = run()
    assert (shown.code, shown.out) == (2, "")
    assert "Commands" in shown.err or "Fleet:" in shown.err


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tfsdeploy", *words]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command("schema"), stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(writing)
    assert done.stderr == b""


@pytest.mark.parametrize(("colour", "environment"), [(True, {}), (False, {"NO_COLOR": "1"}), (False, {"TERM": "dumb"})])
def test_colour_only_on_a_terminal_that_wants_it(colour: bool, environment: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    variables = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment}
    subprocess.run(command("status"), stderr=theirs, stdout=theirs, env=variables, cwd=tmp_path, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "there is no fleet file" in shown
    assert ("\x1b[" in shown) is colour


@pytest.mark.parametrize(
    ("words", "heavy"), [(("--version",), HEAVY), (("--help",), HEAVY), (("rollback", "m", "--fleet", "gone"), HEAVY)]
)
def test_what_starts_fast_imports_little(words: tuple[str, ...], heavy: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys; from tfsdeploy.cli.main import main; main(sys.argv[1:]);"
        f"print(*sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)"
    )
    environment = {**os.environ, "TFSDEPLOY_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.stderr.splitlines()[-1].strip() == ""


def test_an_unforeseen_failure_is_one_line(run: Run, tmp_path: Path) -> None:
    """A state folder that is a file: whatever comes of it, no traceback without --debug."""
    (tmp_path / "home").write_text("")
    shown = run("status", "--fleet", "shop")
    assert shown.code in (1, 2)
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, run: Run) -> None:
    assert "_TFSDEPLOY_COMPLETE" in run("completion", shell).out


def test_the_reference_page_is_not_stale() -> None:
    root = Path(__file__).parents[2]
    assert (root / reference.PAGE).read_text() == reference.page(), "run `make docs`"


def test_every_option_has_help() -> None:
    root = click.Context(cli, info_name="tfsdeploy")
    for name in OWN_HELP:
        made = cli.get_command(root, name)
        assert made is not None
        for parameter in made.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)
