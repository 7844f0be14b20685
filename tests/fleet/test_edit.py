"""Edits in place: what is asked for changes, every other character stays."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.errors import InvalidFile, TfsdeployError, UsageError
from tfsdeploy.fleet.edit import clear_canary, set_canary, set_pin
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import Canary, Model
from tfsdeploy.fleet.starter import starter_text

HEAD = "# the shop\napiVersion: tfsdeploy/v1\nkind: Fleet\nname: 'shop'   # quoted\nstore: file://./models\n"
BLOCK = """models:
  other: {}   # not this one

  ranker:                  # the ranking
    version: 7   # seven
    canary:  # on trial
      # since Monday
      version: 8
      weight: 10 # percent
    # what clients name
    labels: {stable: 7, next: 8}
  last: {"version": 3}
"""


def changed(before: str, after: str) -> list[tuple[str | None, str | None]]:
    """The lines that differ where none was added or removed, else all from the first difference on."""
    return [(a, b) for a, b in zip_longest(before.splitlines(), after.splitlines()) if a != b]


def test_a_block_pin_changes_one_line_and_what_follows_it() -> None:
    assert changed(HEAD + BLOCK, set_pin(HEAD + BLOCK, "ranker", 9)) == [
        ("    version: 7   # seven", "    version: 9   # seven"),
        ("    labels: {stable: 7, next: 8}", "    labels: {stable: 9, next: 8}"),
    ]


def test_a_promoted_canary_is_no_canary_any_more() -> None:
    after = set_pin(HEAD + BLOCK, "ranker", 8)
    canary = "    canary:  # on trial\n      # since Monday\n      version: 8\n      weight: 10 # percent\n"
    expected = BLOCK.replace(canary, "").replace("version: 7", "version: 8").replace("stable: 7", "stable: 8")
    assert after == HEAD + expected


def test_a_canary_that_ends_takes_its_labels_along() -> None:
    after = clear_canary(HEAD + BLOCK, "ranker")
    canary = "    canary:  # on trial\n      # since Monday\n      version: 8\n      weight: 10 # percent\n"
    assert after == HEAD + BLOCK.replace(canary, "").replace(", next: 8", "")
    assert clear_canary(after, "ranker") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  ranker: {}", "  ranker: {version: 9}"),
        ("  ranker: { }  # new", "  ranker: {version: 9 }  # new"),
        ("  ranker: {  # new\n  }", "  ranker: {version: 9  # new\n  }"),
        ("  ranker: {version: 7}", "  ranker: {version: 9}"),
        ("  ranker: { 'version' : 7 }", "  ranker: { 'version' : 9 }"),
        ("  ranker: {example: a.json}", "  ranker: {version: 9, example: a.json}"),
        ("  ranker:\n    version:\n      7", "  ranker:\n    version:\n      9"),
        ("  ranker:\n     example: a.json", "  ranker:\n     version: 9\n     example: a.json"),
        ("  ranker:\n    # why\n    example: a # b", "  ranker:\n    # why\n    version: 9\n    example: a # b"),
        ('  "ranker": {"version": 7}', '  "ranker": {"version": 9}'),
        ("  ? ranker\n  : {version: 7}", "  ? ranker\n  : {version: 9}"),
        (
            "  ranker: {version: 7,\n    labels: {a: 7,\n      b: 7}}",
            "  ranker: {version: 9,\n    labels: {a: 9,\n      b: 9}}",
        ),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("tail", ["", "\n", "\n# the end\n", "\n  é: {}\n"], ids=["cut", "line", "comment", "invalid"])
def test_every_way_to_write_a_pin(before: str, after: str, end: str, tail: str) -> None:
    text = (f"{HEAD}# 𝛼 before\nmodels:\n{before}{tail}").replace("\n", end)
    if "é" in tail:
        with pytest.raises(InvalidFile):
            set_pin(text, "ranker", 9)
    else:
        assert set_pin(text, "ranker", 9) == (f"{HEAD}# 𝛼 before\nmodels:\n{after}{tail}").replace("\n", end)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  ranker: {version: 7}  # a", "  ranker: {version: 7, canary: {version: 8, weight: 5}}  # a"),
        ("  ranker:\n    version: 7  # a\n", "  ranker:\n    version: 7  # a\n    canary: {version: 8, weight: 5}\n"),
        ("  ranker:\n    version: 7", "  ranker:\n    version: 7\n    canary: {version: 8, weight: 5}"),
        (
            "  ranker: {canary: {weight: 9, version: 6}, version: 7}",
            "  ranker: {canary: {weight: 5, version: 8}, version: 7}",
        ),
        (
            "  ranker: {version: 7, canary: {version: 6, weight: 9}, labels: {old: 6}}",
            "  ranker: {version: 7, canary: {version: 8, weight: 5}}",
        ),
    ],
)
def test_every_way_to_write_a_canary(before: str, after: str) -> None:
    assert set_canary(f"{HEAD}models:\n{before}", "ranker", 8, 5) == f"{HEAD}models:\n{after}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{canary: {version: 8, weight: 5}, version: 7}", "{version: 7}"),
        ("{version: 7, canary: {version: 8, weight: 5}}", "{version: 7}"),
        ("{\n    version: 7, # a\n    canary: {version: 8, weight: 5}, # b\n  }", "{\n    version: 7, # a\n  }"),
        ("{\n    version: 7, # a\n    canary: {version: 8, weight: 5}\n  }", "{\n    version: 7, # a\n  }"),
        ("{version: 7,\n   canary: {version: 8,\n     weight: 5}}", "{version: 7,\n   }"),
        (
            "{version: 7, canary: {version: 8, weight: 5}, labels: {a: 8, b: 8, c: 7, d: 8}}",
            "{version: 7, labels: {c: 7}}",
        ),
    ],
)
def test_every_way_to_end_a_canary(before: str, after: str) -> None:
    assert clear_canary(f"{HEAD}models:\n  ranker: {before}\n", "ranker") == f"{HEAD}models:\n  ranker: {after}\n"


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(UsageError, match="there is no model nobody"):
        set_pin(HEAD + BLOCK, "nobody", 9)
    with pytest.raises(UsageError, match="does not pin its version"):
        set_canary(HEAD + BLOCK, "other", 9, 10)
    with pytest.raises(UsageError, match="pins it to version 7"):
        set_canary(HEAD + BLOCK, "ranker", 7, 10)
    with pytest.raises(UsageError, match=r"keeps no second version loaded \(serving.keep: 0\)"):
        set_canary(HEAD + "serving: {keep: 0}\nmodels: {m: {version: 7}}\n", "m", 8, 10)
    with pytest.raises(TfsdeployError, match="cannot be edited safely; the file is as it was"):
        clear_canary(HEAD + "models:\n  m: {version: 7\n   , canary: {version: 8, weight: 5}\n   , labels: {}}\n", "m")


versions = st.integers(1, 12)
comments = st.sampled_from(["", "  # why", "   # {version: 1}", " # a: 'b'"])
orders = st.permutations(["version", "canary", "labels", "example"])


@st.composite
def models(draw: st.DrawFn) -> tuple[Model, str]:
    """A model and one of the ways to write it down."""
    version = draw(versions)
    canary = draw(st.none() | st.builds(Canary, versions.filter(lambda v: v != version), st.integers(1, 99)))
    known = [version] + ([canary.version] if canary else [])
    labels = draw(st.dictionaries(st.sampled_from(["stable", "next", "a-b"]), st.sampled_from(known), max_size=3))
    model = Model(version, canary, labels, None)
    inner_flow, flow = draw(st.booleans()), draw(st.booleans())
    note = "" if flow else draw(comments)
    parts = {"version": f"version: {version}{note}"}
    if canary:
        pair = (f"version: {canary.version}", f"weight: {canary.weight}")
        block = f"canary:{note}\n      {pair[1]}\n      {pair[0]}{note}"
        parts["canary"] = f"canary: {{{', '.join(pair)}}}{note}" if flow or inner_flow else block
    if labels:
        rows = [f"{name}: {target}" for name, target in labels.items()]
        block = "labels:" + "".join(f"\n        {row}{note}" for row in rows)
        parts["labels"] = f"labels: {{{', '.join(rows)}}}{note}" if flow or inner_flow else block
    ordered = [parts[name] for name in draw(orders) if name in parts]
    return model, f"{{{', '.join(ordered)}}}" if flow else "".join(f"\n    {part}" for part in ordered)


@given(st.lists(models(), min_size=1, max_size=3), versions, st.integers(1, 99), st.sampled_from(["\n", "\r\n"]))
def test_an_edit_says_what_was_meant_and_nothing_else(
    written: list[tuple[Model, str]], version: int, weight: int, end: str
) -> None:
    text = HEAD + "models:\n" + "".join(f"  m{i}: {how}\n\n  # after {i}\n" for i, (_, how) in enumerate(written))
    text = text.replace("\n", end)
    before = parse_fleet(text, "fleet.yaml")
    model = written[0][0]
    assert before.models["m0"] == model

    pinned = set_pin(text, "m0", version)
    after = parse_fleet(pinned, "fleet.yaml")
    assert after.models["m0"].version == version
    assert set(after.models["m0"].labels) == set(model.labels)
    if model.canary is None or model.canary.version != version:
        assert after.models["m0"].canary == model.canary
        assert pinned.count(end) == text.count(end), "no line came or went"

    cleared = clear_canary(text, "m0")
    stable = {name: target for name, target in model.labels.items() if target == model.version}
    assert parse_fleet(cleared, "fleet.yaml").models["m0"] == replace(model, canary=None, labels=stable)

    edits = [pinned, cleared]
    if version != model.version:
        edits.append(set_canary(text, "m0", version, weight))
        assert parse_fleet(edits[-1], "fleet.yaml").models["m0"].canary == Canary(version, weight)
    for edited in edits:
        rest = text[text.index("  # after 0") :]
        assert edited.endswith(rest), "what comes after the model is as it was"
        assert edited.startswith(text[: text.index("m0:") + 3]), "what comes before it, too"
        others = parse_fleet(edited, "fleet.yaml")
        assert replace(others, models=before.models) == before


def test_the_starter_can_be_edited(tmp_path: Path) -> None:
    text = starter_text("shop")
    assert parse_fleet(text, str(tmp_path / "fleet.yaml")).store.url == f"file://{tmp_path}/models"
    assert changed(text, set_pin(text, "half_plus_two", 2)) == [
        ("  half_plus_two: {}", "  half_plus_two: {version: 2}")
    ]


@pytest.mark.parametrize("name", ["no", "1", "007", "on", "a-1", "2024-01-01", "x" * 40])
@pytest.mark.parametrize("store", ["file://./models", "file:///srv/two words", "s3://models/prod"])
def test_every_valid_name_makes_a_valid_starter(name: str, store: str) -> None:
    fleet = parse_fleet(starter_text(name, store), "/srv/fleet.yaml")
    assert fleet.name == name
    assert list(fleet.models) == ["half_plus_two"]
