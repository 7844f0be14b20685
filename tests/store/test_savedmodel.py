"""What is said of SavedModels, of incomplete ones, and of what is none."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tfsdeploy.errors import UsageError
from tfsdeploy.protocol.wire import BundleEntryProto, BundleHeaderProto, SavedModel
from tfsdeploy.store.checkpoint import Torn, check_variables
from tfsdeploy.store.savedmodel import (
    Graph,
    SavedModelInfo,
    Shape,
    Signature,
    Tensor,
    compatible,
    from_plain,
    inspect,
    to_plain,
)


def test_a_trained_model_tells_what_it_is(trained: Path) -> None:
    import tensorflow as tf

    info = inspect(trained)
    signature = info.signatures["serving_default"]
    assert info.served.tags == ("serve",)
    assert info.tensorflow == tf.__version__
    assert info.variables == 1
    assert not info.keras
    assert not info.warm_up
    assert info.bytes == sum(file.stat().st_size for file in trained.rglob("*") if file.is_file())
    assert signature.method == "tensorflow/serving/predict"
    assert [(t.name, t.dtype, t.shape) for t in signature.inputs.values()] == [("x", "float", (None,))]
    assert [(t.name, t.dtype, t.shape) for t in signature.outputs.values()] == [("y", "float", (None,))]


def test_it_is_read_without_tensorflow(trained: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tfsdeploy.store.savedmodel import inspect;"
        "inspect(Path(sys.argv[1])); assert not {'tensorflow', 'numpy', 'grpc'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, str(trained)], check=True)


def test_assets_and_warm_up_requests_are_seen(example: Callable[..., Path]) -> None:
    info = inspect(
        example(files={"assets/words.txt": b"a", "assets.extra/tf_serving_warmup_requests": b"", "tfsdeploy.json": b""})
    )
    assert info.assets == ("words.txt",)
    assert info.warm_up
    assert info.bytes == (Path(info.path) / "saved_model.pb").stat().st_size + 1


def test_every_graph_is_told_and_the_one_for_serving_is_named(example: Callable[..., Path]) -> None:
    file = example() / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    training = model.meta_graphs.add()
    training.CopyFrom(model.meta_graphs[0])
    training.meta_info_def.tags[:] = ["train", "gpu"]
    del training.signature_def["serving_default"]
    model.meta_graphs.reverse()
    file.write_bytes(model.SerializeToString())
    info = inspect(file.parent)
    assert info.served.tags == ("serve",)
    assert [(graph.tags, dict(graph.signatures)) for graph in info.others] == [(("gpu", "train"), {})]


def test_a_description_survives_its_way_over_the_network(trained: Path) -> None:
    info = inspect(trained)
    assert from_plain(json.loads(json.dumps(to_plain(info)))) == info
    for nonsense in ({}, {**to_plain(info), "signatures": []}, {**to_plain(info), "bytes": None}):
        with pytest.raises(ValueError, match="not the description"):
            from_plain(nonsense)


def test_a_keras_model_is_known(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.export(str(tmp_path / "model"), verbose=False)
    info = inspect(tmp_path / "model")
    assert info.keras
    assert [t.shape for t in info.signatures["serving_default"].inputs.values()] == [(None, 3)]


def _remove(name: str) -> Callable[[Path], object]:
    return lambda model: (model / name).unlink()


def _cut(name: str, left: int) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:left])


SHARD = "variables/variables.data-00000-of-00001"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove("variables/variables.index"), "variables.index is missing"),
        (_remove(SHARD), "variables.data-00000-of-00001 is missing"),
        (_cut(SHARD, 3), "cut short: it has 3 of"),
        (_cut(SHARD, 0), "cut short: it has 0 of"),
        (_cut("variables/variables.index", 40), "variables.index is damaged"),
        (_cut("variables/variables.index", 0), "variables.index is damaged"),
        (_cut("saved_model.pb", 1000), "cannot be parsed"),
        (_cut("saved_model.pb", 0), "holds no graph"),
        (_remove("saved_model.pb"), "copied only in part"),
    ],
)
def test_an_incomplete_model_is_refused(torn: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(torn)
    with pytest.raises(UsageError, match=words):
        inspect(torn)


def test_variables_of_a_shard_that_nobody_counts_are_missed(tmp_path: Path) -> None:
    header = BundleHeaderProto(num_shards=1).SerializeToString()
    entry = BundleEntryProto(shard_id=1, size=4).SerializeToString()
    records = [(b"", header), (b"weight", entry)]
    (tmp_path / "variables.index").write_bytes(_index(records))
    (tmp_path / "variables.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(Torn, match="a shard of which there are only 1"):
        check_variables(tmp_path)


def _index(records: list[tuple[bytes, bytes]]) -> bytes:
    """A table of one block, with no value or place of 128 bytes or more."""

    def block(of: list[tuple[bytes, bytes]]) -> bytes:
        entries = b"".join(bytes([0, len(key), len(value)]) + key + value for key, value in of)
        return entries + struct.pack("<II", 0, 1)

    data = block(records)
    index = block([(b"~", bytes([0, len(data)]))])
    places = bytes([0, 0, len(data), len(index)])
    return data + index + places.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_a_damaged_index_is_no_traceback(torn: Path, at: int) -> None:
    index = torn / "variables/variables.index"
    content = bytearray(index.read_bytes())
    content[at % len(content)] ^= 0xFF
    index.write_bytes(content)
    try:
        inspect(torn)
    except UsageError as error:
        assert "incomplete" in error.message  # noqa: PT017


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "nothing is there"),
        ({"": None}, "the folder is empty"),
        ({"m.h5": b""}, "a folder with a Keras HDF5 file.*model.export"),
        ({"m.keras": b""}, "a folder with a Keras file"),
        ({"m.tflite": b"", "labels.txt": b""}, "a TFLite file"),
        ({"checkpoint": b"", "ckpt-1.index": b"", "ckpt-1.data-00000-of-00001": b""}, "a checkpoint"),
        ({"frozen.pb": b""}, "a frozen graph"),
        ({"saved_model.pbtxt": b""}, "in text form"),
        ({"9/saved_model.pb": b"", "10/saved_model.pb": b""}, "a folder of versions.*did you mean .*/10?"),
        ({"export/saved_model.pb": b""}, "did you mean .*/export?"),
        ({"readme.md": b""}, "it has readme.md"),
    ],
)
def test_what_is_no_saved_model_is_named(tmp_path: Path, files: Mapping[str, bytes | None], words: str) -> None:
    place = tmp_path / "place"
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).mkdir(parents=True) if content is None else (place / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        inspect(place)
    assert _matches(words, str(caught.value))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.h5", "Keras HDF5"),
        ("m.keras", "Keras file"),
        ("m.tflite", "TFLite"),
        ("m.tar.gz", "archive"),
        ("m.pb", "frozen graph"),
        ("saved_model.pb", "did you mean its folder"),
        ("m.bin", "a file, not a folder"),
    ],
)
def test_a_file_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        inspect(tmp_path / name)
    assert words in str(caught.value)


def test_a_frozen_graph_under_its_name_is_refused(example: Callable[..., Path]) -> None:
    path = example() / "saved_model.pb"
    path.write_bytes(SavedModel.FromString(path.read_bytes()).meta_graphs[0].graph_def)
    with pytest.raises(UsageError, match=r"holds no graph|cannot be parsed"):
        inspect(path.parent)


def _matches(words: str, text: str) -> bool:
    import re

    return re.search(words, text, re.DOTALL) is not None


def _info(
    inputs: dict[str, tuple[str, Shape]] | None,
    outputs: dict[str, tuple[str, Shape]] | None = None,
    method: str = "tensorflow/serving/predict",
) -> SavedModelInfo:
    def tensors(of: dict[str, tuple[str, Shape]]) -> dict[str, Tensor]:
        return {name: Tensor(name, dtype, shape, f"{name}:0") for name, (dtype, shape) in of.items()}

    given = {"y": ("float", (None,))} if outputs is None else outputs
    signatures = (
        {}
        if inputs is None
        else {"serving_default": Signature("serving_default", method, tensors(inputs), tensors(given))}
    )
    return SavedModelInfo(Path("m"), 0, Graph(("serve",), signatures), (), None, False, 0, False, ())


X: dict[str, tuple[str, Shape]] = {"x": ("float", (None, 3))}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (_info(X), _info(X), None),
        (_info(X), _info(None), "signature serving_default is gone"),
        (_info(None), _info(X), None),
        (_info(X), _info({}), "input x is gone"),
        (_info(X), _info({"x": ("int64", (None, 3))}), "input x was float and is int64"),
        (_info(X), _info({"x": ("float", (None, 4))}), r"had shape \[\?, 3\] and has \[\?, 4\]"),
        (_info(X), _info({"x": ("float", (None, None))}), None),
        (_info(X), _info({"x": ("float", (1, 3))}), r"has \[1, 3\]"),
        (_info(X), _info({"x": ("float", (3,))}), r"has \[3\]"),
        (_info(X), _info({"x": ("float", None)}), None),
        (_info({"x": ("float", None)}), _info(X), "of unknown rank and has"),
        (_info(X), _info(X | {"z": ("float", ())}), "input z is new"),
        (_info(X), _info(X, {}), "output y is gone"),
        (_info(X), _info(X, {"y": ("double", (None,))}), "output y was float and is double"),
        (_info(X), _info(X, {"y": ("float", (None, 1))}), r"output y had shape \[\?\] and has \[\?, 1\]"),
        (_info(X), _info(X, {"y": ("float", (5,))}), None),
        (_info(X), _info(X, {"y": ("float", (None,)), "more": ("float", ())}), None),
        (_info(X), _info(X, method="tensorflow/serving/classify"), "is by tensorflow/serving/classify"),
    ],
)
def test_what_would_break_clients(old: SavedModelInfo, new: SavedModelInfo, words: str | None) -> None:
    reasons = "; ".join(compatible(old.signatures, new.signatures))
    assert _matches(words, reasons) if words else reasons == ""
