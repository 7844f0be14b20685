"""SavedModels that can be read and published, made without TensorFlow; nothing loads them."""

from __future__ import annotations

from pathlib import Path

from tfsdeploy.protocol.wire import DataType, SavedModel


def write_saved_model(folder: Path, number: int, output: str = "y") -> None:
    """A model without variables from ``x`` (float, [?]) to ``output``; ``number`` makes its bytes its own."""
    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.meta_info_def.tensorflow_version = f"2.20.{number}"
    signature = graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for tensors, name in ((signature.inputs, "x"), (signature.outputs, output)):
        tensors[name].name = f"{name}:0"
        tensors[name].dtype = DataType.Value("DT_FLOAT")
        tensors[name].tensor_shape.dim.add(size=-1)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
