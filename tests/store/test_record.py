"""Commit records: written and read back, and nonsense that is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.store.record import File, InvalidRecord, Record, decode, digest_of, encode

FILES = (File("saved_model.pb", 10, "a" * 64), File("variables/variables.index", 5, "b" * 64))
RECORD = Record("ranker", 7, digest_of(FILES), FILES, "2026-01-02T03:04:05+00:00", "ci@build", "2.20.0")

names = st.text("abcé日 ", min_size=1)
files = st.lists(st.builds(File, names, st.integers(0, 2**60), st.text("0123456789abcdef", min_size=64, max_size=64)))


def test_a_record_tells_its_size() -> None:
    assert RECORD.bytes == 15


def test_digests_do_not_depend_on_the_order_and_do_on_everything_else() -> None:
    assert digest_of(reversed(FILES)) == digest_of(FILES)
    others = [File("other", 10, "a" * 64), File("saved_model.pb", 11, "a" * 64), File("saved_model.pb", 10, "c" * 64)]
    assert len({digest_of([other, FILES[1]]) for other in [FILES[0], *others]}) == 4


@given(files, st.none() | names)
def test_what_is_written_is_read_back(listed: list[File], tensorflow: str | None) -> None:
    unique = tuple(sorted({file.path: file for file in listed}.values()))
    record = Record("ranker", 7, digest_of(unique), unique, "now", "a@b", tensorflow)
    assert decode(encode(record).encode(), "here") == record


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(anything | st.dictionaries(st.sampled_from(list(json.loads(encode(RECORD)))), anything))
def test_any_json_is_a_record_or_refused(plain: Any) -> None:
    for document in (plain, json.loads(encode(RECORD)) | plain if isinstance(plain, dict) else plain):
        try:
            record = decode(json.dumps(document), "here")
        except InvalidRecord:
            continue
        assert decode(encode(record).encode(), "here") == record


@given(st.binary())
def test_any_bytes_are_a_record_or_refused(content: bytes) -> None:
    with pytest.raises(InvalidRecord, match="here"):
        decode(content, "here")


def test_unknown_keys_are_ignored() -> None:
    plain = json.loads(encode(RECORD)) | {"later": {"more": 1}}
    plain["files"][0]["later"] = 1
    assert decode(json.dumps(plain), "here") == RECORD


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "7", '"text"', "{}", "{", '{"apiVersion": "tfsdeploy/v1"}', b"\xff\xfe", "[" * 100_000]
)
def test_nonsense_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRecord, match="here"):
        decode(text, "here")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("apiVersion", "tfsdeploy/v2"),
        ("model", None),
        ("version", "7"),
        ("version", True),
        ("version", -7),
        ("digest", "sha256:0"),
        ("committed", 5),
        ("by", ["a"]),
        ("by", "half a pair: \ud800"),
        ("files", [{"path": "\ud800", "size": 1, "sha256": "a"}]),
        ("tensorflow", 2.2),
        ("files", None),
        ("files", [{"path": "a", "size": 1}]),
        ("files", [{"path": "a", "size": "1", "sha256": "a"}]),
        ("files", [{"path": "a", "size": 1.5, "sha256": "a"}]),
        ("files", ["a"]),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(key: str, value: Any) -> None:
    with pytest.raises(InvalidRecord):
        decode(json.dumps(json.loads(encode(RECORD)) | {key: value}), "here")


def test_who_wrote_it_does_nothing_to_a_terminal() -> None:
    plain = json.loads(encode(RECORD)) | {"by": "a\x1b[2J\r\n7  b", "committed": "now\a"}
    plain["signed"] = [{"key": "ed25519:\x1b]0;x\a", "signature": ""}]
    record = decode(json.dumps(plain), "here")
    assert (record.by, record.committed, record.signed[0].key) == ("a�[2J��7  b", "now�", "ed25519:�]0;x�")
    assert json.loads(encode(record)) == plain


@pytest.mark.parametrize("path", ["/etc/passwd", "../8/saved_model.pb", "a/../../b", "", ".", "a//b"])
def test_a_path_that_leaves_the_version_is_refused(path: str) -> None:
    listed = (File(path, 1, "a" * 64),)
    with pytest.raises(InvalidRecord, match="outside"):
        decode(encode(Record("ranker", 7, digest_of(listed), listed, "now", "a@b")), "here")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["a\0b"], "no disk could hold"),
        (["a\nb"], "no disk could hold"),
        (["assets/" + "é" * 128], "no disk could hold"),
        (["variables", "variables/variables.index"], "'variables' both as a file and as a folder"),
        (["tfsdeploy.json"], "itself"),
    ],
)
def test_what_no_disk_can_hold_is_refused_before_it_is_fetched(paths: list[str], words: str) -> None:
    listed = tuple(File(path, 1, "a" * 64) for path in paths)
    with pytest.raises(InvalidRecord, match=words):
        decode(encode(Record("ranker", 7, digest_of(listed), listed, "now", "a@b")), "here")


def test_a_file_is_named_once() -> None:
    listed = (File("a", 1, "a" * 64), File("a", 2, "b" * 64))
    with pytest.raises(InvalidRecord, match="twice"):
        decode(encode(Record("ranker", 7, digest_of(listed), listed, "now", "a@b")), "here")
