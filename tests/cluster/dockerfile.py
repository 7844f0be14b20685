"""What the Dockerfiles of `images/` say, read strictly: a step that these tests could not follow is an error."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

IMAGES = Path(__file__).parents[2] / "images"

PYTHON = "3.11"
"""That of the Dockerfiles, and Debian 12's; wheels are chosen for it, whatever runs here."""

BASE = f"python:{PYTHON}-slim-bookworm"

_NEEDED = (
    """python -c "import tomllib; project = tomllib.load(open('/src/pyproject.toml', 'rb'))['project']; """
    """print(*project['dependencies'], *project['optional-dependencies']['{extra}'], sep='\\n')" > /needed"""
)
_PIP = "pip install --no-cache-dir --prefix="

BUILD = (
    re.compile(rf"FROM {re.escape(BASE)} AS build"),
    re.compile(r"COPY (?!--)(?P<context>.+) /src/\S*"),
    re.compile(
        "RUN "
        + re.escape(_NEEDED).replace(re.escape("{extra}"), r"(?P<extra>\w+)")
        + re.escape(f" && {_PIP}/dependencies --constraint=/src/constraints.txt --requirement=/needed")
    ),
    re.compile(
        f"RUN {_PIP}/product --no-deps /src" + r"(?: && ln -s (?P<target>[\w-]+) /product/bin/(?P<link>[\w-]+))?"
    ),
    re.compile(r"RUN mkdir -p (?P<made>/folders/\w+(?: /folders/\w+)*)"),
)
"""Every step of the first stage that the tests' images follow; each stands there at most once, but for COPY."""

LAST = (
    re.compile(rf"FROM {re.escape(BASE)}"),
    re.compile(r"COPY --from=build /dependencies /usr/local"),
    re.compile(r"COPY --from=build /product /usr/local"),
    re.compile(r"COPY --from=build --chown=(?P<owner>\d+:\d+) (?P<source>/folders/\w+) (?P<folder>/\S+)"),
    re.compile(r"ENV (?P<environment>\w+=\S+(?: \w+=\S+)*)"),
    re.compile(r"USER (?P<user>\d+:\d+)"),
    re.compile(r"ENTRYPOINT (?P<entrypoint>\[.+\])"),
)
"""Every step of the last stage."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a Dockerfile says of its image.

    Attributes:
        context: what is copied from the tree.
        extra: the extra of the wheel whose dependencies are installed too.
        links: other names of programs: name -> program.
        folders: empty ones, which belong to the user.
        environment: variables.
        user: ``UID:GID``.
        entrypoint: what runs.
    """

    context: tuple[str, ...]
    extra: str
    links: dict[str, str]
    folders: tuple[str, ...]
    environment: dict[str, str]
    user: str
    entrypoint: tuple[str, ...]


def said_by(name: str) -> Said:
    """What ``images/NAME.Dockerfile`` says."""
    file = IMAGES / f"{name}.Dockerfile"
    try:
        return read(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: {error}; change {__file__} and product.py with it") from None


def read(text: str) -> Said:
    """What a Dockerfile says.

    Raises:
        ValueError: it has a step that the tests' images would not have, or lacks one that they have.
    """
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    steps = [line for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines() if line]
    last = max(number for number, step in enumerate(steps) if step.startswith("FROM "))
    build, end = _matched(steps[:last], BUILD), _matched(steps[last:], LAST)
    made = [folder for words in _all(build, "made") for folder in words.split()]
    (user,), (extra,), (entrypoint,) = _all(end, "user"), _all(build, "extra"), _all(end, "entrypoint")
    if made != _all(end, "source") or not set(_all(end, "owner")) <= {user}:
        raise ValueError("folders are made and not copied, or copied for somebody who is not the image's user")
    return Said(
        tuple(word for words in _all(build, "context") for word in words.split()),
        extra,
        dict(zip(_all(build, "link"), _all(build, "target"), strict=True)),
        tuple(_all(end, "folder")),
        dict(pair.split("=", 1) for words in _all(end, "environment") for pair in words.split()),
        user,
        tuple(json.loads(entrypoint)),
    )


def _matched(steps: list[str], known: tuple[re.Pattern[str], ...]) -> list[re.Match[str]]:
    """The steps of a stage, each as the one pattern has read it that it matches."""
    found = {step: [match for pattern in known if (match := pattern.fullmatch(step))] for step in steps}
    for step, matches in found.items():
        if not matches:
            raise ValueError(f"the images of the tests would not have {step!r}")
    matched = {match.re for matches in found.values() for match in matches}
    # An image need not have folders of its user.
    lacking = [pattern.pattern for pattern in known if pattern not in matched and "/folders/" not in pattern.pattern]
    if lacking:
        raise ValueError(f"the images of the tests have a step that is not there: {lacking}")
    return [match for matches in found.values() for match in matches]


def _all(matches: list[re.Match[str]], group: str) -> list[str]:
    return [match[group] for match in matches if match.re.groupindex.get(group) and match[group]]
