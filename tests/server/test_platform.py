"""Which models a configuration may ask for: TensorFlow's, by the new field or the old one, never both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsdeploy.protocol.model_config import ModelConfig
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.config import read

REFUSED = {
    "": "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
    "model name is c",
    'model_type: TENSORFLOW model_platform: "tensorflow"': "Illegal setting both ModelServerConfig::model_type "
    "(deprecated) and ModelServerConfig::model_platform, model name is c",
    "model_type: OTHER": "ModelServerConfig::model_type choice 2 not supported.",
    'model_platform: "foo"': "Model c requests unsupported platform foo",
}


def written(folder: Path, platform: str) -> str:
    """A configuration of one model ``c``."""
    file = folder / "config"
    file.write_text(f'model_config_list {{ config {{ name: "c" base_path: "/m" {platform} }} }}')
    return str(file)


@pytest.mark.parametrize(("platform", "words"), REFUSED.items(), ids=[platform or "none" for platform in REFUSED])
def test_refused(tmp_path: Path, platform: str, words: str) -> None:
    with pytest.raises(Failed) as raised:
        read(written(tmp_path, platform))
    assert (raised.value.code, raised.value.message) == ("INVALID_ARGUMENT", words)


@pytest.mark.parametrize("platform", ['model_platform: "tensorflow"', "model_type: TENSORFLOW"])
def test_taken(tmp_path: Path, platform: str) -> None:
    assert read(written(tmp_path, platform)) == (ModelConfig("c", "/m"),)
