"""The model configuration as text: the original's own parser reads what was meant."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.protocol.model_config import All, Latest, ModelConfig, Policy, Specific, render
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.config import from_message

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorflow_serving.config import model_server_config_pb2

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers(0, 2**63 - 1)
POLICIES: st.SearchStrategy[Policy] = st.one_of(
    st.builds(Latest, st.integers(0, 2**32 - 1)),
    st.just(All()),
    st.builds(Specific, st.lists(NUMBERS, max_size=4).map(tuple)),
)
MODELS = st.builds(
    ModelConfig, TEXT, TEXT.map("/".__add__), POLICIES, st.dictionaries(TEXT.filter(bool), NUMBERS, max_size=3)
)


def read(models: list[ModelConfig]) -> Any:
    """The message that the original would read."""
    return text_format.Parse(render(models), model_server_config_pb2.ModelServerConfig())


@given(st.lists(MODELS, max_size=4, unique_by=lambda model: model.name))
def test_what_is_rendered_is_read_as_it_was_meant(models: list[ModelConfig]) -> None:
    assert from_message(read(models)) == tuple(models)


@pytest.mark.parametrize(
    "name",
    ["", 'a"b', "a\\", "a\\n", "a\nb", "a\rb", "a\tb", "a\x00b", "a'b", "} config {", "# no comment", "ü→😀", "\x7f"],
    ids=repr,
)
def test_hostile_names_stay_names(name: str) -> None:
    model = ModelConfig(name, f"/models/{name}", Latest(), {name + "x": 1})
    (entry,) = read([model]).model_config_list.config
    assert (entry.name, entry.base_path, dict(entry.version_labels)) == (name, f"/models/{name}", {name + "x": 1})


def test_no_models_is_a_list_without_entries() -> None:
    message = read([])
    assert message.HasField("model_config_list")
    assert len(message.model_config_list.config) == 0


def test_every_entry_names_its_platform() -> None:
    assert read([ModelConfig("m", "/m")]).model_config_list.config[0].model_platform == "tensorflow"


# Words measured on the original (server_core.cc).
REFUSED = {
    "config { name: 'm' base_path: '/m' model_platform: 'tensorflow' } "
    "config { name: 'm' base_path: '/n' model_platform: 'tensorflow' }": (
        "Illegal to list model m multiple times in config list"
    ),
    "config { name: 'm' base_path: 'm' model_platform: 'tensorflow' }": (
        "Expected model m to have an absolute path or URI; got base_path()=m"
    ),
    "config { name: 'm' base_path: '/m' }": (
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
        "model name is m"
    ),
    "config { name: 'm' base_path: '/m' model_platform: 'caffe' }": "Model m requests unsupported platform caffe",
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items())
def test_a_wrong_list_is_refused_in_the_originals_words(text: str, words: str) -> None:
    message = text_format.Parse(f"model_config_list {{ {text} }}", model_server_config_pb2.ModelServerConfig())
    with pytest.raises(Failed) as raised:
        from_message(message)
    assert (raised.value.code, raised.value.message) == ("INVALID_ARGUMENT", words)
