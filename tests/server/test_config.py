"""The configuration as the original takes it: files, one model by flags, and which labels may point where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsdeploy.protocol.model_config import Latest, ModelConfig, render
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.config import check_labels, read, single
from tfsdeploy.server.flags import Flags

AWAY = "Request to assign label to version {} of model m, which is not currently available for inference"


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    models = (ModelConfig("m", "/models/m", Latest(2), {"stable": 1}), ModelConfig("n", "gs://bucket/n"))
    file.write_text(render(models))
    assert read(str(file)) == models
    file.write_text(render([]))
    assert read(str(file)) == ()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "INVALID_ARGUMENT", "{file}; Invalid argument"),
        (b"model_config_list {", "INVALID_ARGUMENT", "Invalid protobuf file: '{file}'"),
        (b"no_such_field: 1", "INVALID_ARGUMENT", "Invalid protobuf file: '{file}'"),
        (b"\xff\xfe", "INVALID_ARGUMENT", "Invalid protobuf file: '{file}'"),
        (
            b"# nothing",
            "FAILED_PRECONDITION",
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to "
            "another.",
        ),
        (None, "NOT_FOUND", "{file}; No such file or directory"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(content: bytes | None, code: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Failed) as raised:
        read(str(file))
    assert (raised.value.code, raised.value.message) == (code, words.format(file=file))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("this is not a config", '1:6: Message type "tensorflow.serving.ModelServerConfig" has no field named "this".'),
        ("this", '1:5: Message type "tensorflow.serving.ModelServerConfig" has no field named "this".'),
        (
            'model_config_list { config { name: "a" nosuch: 1 } }',
            '1:46: Message type "tensorflow.serving.ModelConfig" has no field named "nosuch".',
        ),
        (
            "model_config_list {\n  config {\n    nosuch # why\n    : 1 } }",
            '4:5: Message type "tensorflow.serving.ModelConfig" has no field named "nosuch".',
        ),
        ('model_config_list { config { name: "a" ', "1:40: Expected identifier, got: "),
        ('{"model_config_list":[]}', "1:1: Expected identifier, got: {"),
    ],
)
def test_a_parse_error_has_protobuf_s_own_place_and_words(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.config"
    file.write_text(content)
    with pytest.raises(Failed):
        read(str(file))
    assert capsys.readouterr().err == f"Error parsing text-format tensorflow.serving.ModelServerConfig: {said}\n"


def test_a_file_without_a_list_is_fine_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "models.config"
    file.write_text("# nothing")
    assert read(str(file), first=True) == ()
    assert capsys.readouterr().err == "Taking no action for empty config.\n"


def test_a_custom_configuration_is_refused(tmp_path: Path) -> None:
    """The original ends with SIGABRT."""
    file = tmp_path / "models.config"
    file.write_text('custom_model_config { type_url: "x/y" }')
    with pytest.raises(Failed, match="ModelServer does not yet support custom model config"):
        read(str(file), first=True)
    with pytest.raises(Failed, match="It is only legal to transition from one ModelConfigList to another"):
        read(str(file))


def test_one_model_comes_from_flags() -> None:
    assert single(Flags(model_base_path="/models/m")) == (ModelConfig("default", "/models/m"),)
    with pytest.raises(Failed, match="Expected model a to have an absolute path or URI"):
        single(Flags(model_name="a", model_base_path="models/m"))


# Version 1 is available and labelled stable; gone names 9, which is not there any more.
PRESENT = {"m": {"stable": 1, "gone": 9}}


@pytest.mark.parametrize(
    ("labels", "strict", "flagged"),
    [
        ({}, True, True),
        ({"stable": 1}, True, True),
        ({"new": 1}, True, True),
        ({"stable": 2}, False, False),
        ({"new": 2}, False, True),
        ({"gone": 9}, False, True),
        ({"gone": 1}, True, True),
        ({"gone": 2}, False, False),
        ({"stable": 1, "new": 2}, False, True),
    ],
    ids=str,
)
def test_a_label_may_point_only_where_the_original_lets_it(labels: dict[str, int], strict: bool, flagged: bool) -> None:
    models = [ModelConfig("m", "/m", labels=labels)]
    for new_anywhere, allowed in ((False, strict), (True, flagged)):
        if allowed:
            found = check_labels(models, {"m": {1}}, PRESENT, new_anywhere=new_anywhere)
            assert found == ({"m": labels} if labels else {})
        else:
            with pytest.raises(Failed) as raised:
                check_labels(models, {"m": {1}}, PRESENT, new_anywhere=new_anywhere)
            wrong = next(version for version in labels.values() if version != 1)
            assert (raised.value.code, raised.value.message) == ("FAILED_PRECONDITION", AWAY.format(wrong))


def test_one_refused_label_refuses_the_map_as_a_whole() -> None:
    models = [ModelConfig("n", "/n", labels={"fine": 1}), ModelConfig("m", "/m", labels={"new": 2})]
    with pytest.raises(Failed):
        check_labels(models, {"m": {1}, "n": {1}}, {}, new_anywhere=False)
