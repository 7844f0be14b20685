"""Mutated fleet files: each one loads and can be edited, or is turned down with a position; nothing else ever happens.

``TFSDEPLOY_FUZZ`` says how many (`make soak`: 10,000), ``TFSDEPLOY_FUZZ_SEED`` where to begin.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from tfsdeploy.errors import InvalidFile, TfsdeployError
from tfsdeploy.fleet.edit import clear_canary, set_pin
from tfsdeploy.fleet.load import load_fleet, read_text
from tfsdeploy.fleet.model import Fleet, to_plain
from tfsdeploy.fleet.pins import canonical_json

COUNT = int(os.environ.get("TFSDEPLOY_FUZZ", "400"))
SEED = int(os.environ.get("TFSDEPLOY_FUZZ_SEED", "1"))
SECONDS_EACH = 60

HERE = Path(__file__).parent
VALID = [file.read_bytes() for file in sorted((HERE.parents[1] / "examples").glob("*.yaml"))]
CORPUS = VALID + [file.read_bytes() for file in sorted((HERE / "hostile").glob("*.yaml"))]
YAML = b"&a|*a|<<|? |: |- |---|...|!!int |!x |%YAML 9.9|{|}|[|]|\"|'|\\|# |null|~|no|0o7|010|1:30|1_000|1e99|.inf|.nan"
WORDS = [
    *YAML.split(b"|"),
    *(
        b"|",
        b">-",
        b"\n",
        b"\r",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xe2\x80\xae",
        b"\xf0\x9d\x9b\xbc",
    ),
    *(
        b"9" * 5000,
        b"[" * 3000,
        b"{a: " * 3000,
        b"- " * 3000,
        b"x" * 5000,
        b"version: 7\n",
        b"  ",
        b"../..",
        b"2001-01-01",
    ),
]


def mutated(source: random.Random) -> bytes:
    """One of the corpus with one to eight changes: a byte, a word, a line, a number, a piece of another."""
    content = source.choice(source.choice((VALID, CORPUS)))
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        start = source.randint(0, len(content))
        end = min(len(content), start + source.choice((0, 0, 1, 1, 4, 20, 200)))
        lines = content.splitlines(keepends=True) or [b""]
        match source.randrange(8):
            case 0:
                content = content[:start] + bytes([source.randrange(256)]) + content[end:]
            case 1:
                content = content[:start] + source.choice(WORDS) + content[end:]
            case 2:
                content = content[:start] + content[end:]
            case 3:
                lines.insert(source.randint(0, len(lines)), source.choice(lines))
                content = b"".join(lines)
            case 4:
                other = source.choice(CORPUS)
                piece = source.randint(0, len(other))
                content = content[:start] + other[piece : piece + source.randint(0, 300)] + content[end:]
            case 5:
                value = source.choice(lines)
                content = content.replace(value, value.rpartition(b":")[0] + b": " + source.choice(WORDS) + b"\n", 1)
            case 6:
                content = content[:start] + bytes([source.choice(b" #,-0123456789:{}\n")]) + content[start:]
            case 7:
                numbers = re.findall(rb"[0-9]+", content) or [b""]
                content = content.replace(
                    source.choice(numbers), str(source.choice((0, 1, 2, 7, 8, 99, 2**53))).encode(), 1
                )
    return content


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Break off what takes longer."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_mutated_file_loads_or_is_turned_down_with_a_position(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    loaded = 0
    for case in range(COUNT):
        content = mutated(random.Random(SEED * 1_000_003 + case))
        file.write_bytes(content)
        error = outcome(file, f"case {case} of seed {SEED}: {content!r}")
        loaded += error is None
        if error is not None:
            lines = content.count(b"\n") + content.count(b"\r") + 1
            assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in error.problems), (
                case,
                str(error),
            )
            assert all(line.isprintable() for line in str(error).splitlines()), (case, str(error))
    assert COUNT / 50 < loaded < COUNT / 2, "the mutations are neither all harmless nor all fatal"


def edit_every_model(fleet: Fleet) -> None:
    """An edit of a valid file works, or says that it will not; `set_pin` itself proves what it returns."""
    text = read_text(fleet.file)
    for name, model in fleet.models.items():
        with suppress(TfsdeployError):
            assert set_pin(text, name, 77, file=str(fleet.file)) != text or model.version == 77
            assert (clear_canary(text, name, file=str(fleet.file)) == text) == (model.canary is None)


def outcome(file: Path, case: str) -> InvalidFile | None:
    """How the file was turned down; None if it is valid. Whatever else happens says which case it was."""
    try:
        with at_most(SECONDS_EACH):
            fleet = load_fleet(file)
            canonical_json(to_plain(fleet))
            edit_every_model(fleet)
    except InvalidFile as error:
        return error
    except BaseException as error:
        error.add_note(case)
        raise
    return None
