"""What a path is that was taken for a SavedModel, so that its owner knows what to do."""

from __future__ import annotations

from pathlib import Path

from tfsdeploy.names import parse_version

_SAVE = "save it with model.export(...) or tf.saved_model.save(...)"
_NAME = "name the folder that holds saved_model.pb"

# By suffix, longest first: what it is, and how it becomes a SavedModel.
_FILES = {
    ".keras": ("a Keras file", "load it with keras.models.load_model, then model.export(...) makes a SavedModel"),
    ".h5": ("a Keras HDF5 file", "load it with keras.models.load_model, then model.export(...) makes a SavedModel"),
    ".tflite": ("a TFLite file", "call it model.tflite and name its folder; or " + _SAVE),
    ".onnx": ("an ONNX file", "convert it to a SavedModel first"),
    ".pbtxt": ("a SavedModel in text form", "save it in binary form: tf.saved_model.save(...)"),
    ".pb": ("a frozen graph", "a SavedModel is a folder with signatures; " + _SAVE),
    ".index": ("a checkpoint, which has weights but no graph", "build the model, restore it, and " + _SAVE),
    ".tar": ("an archive", "unpack it first"),
    ".tgz": ("an archive", "unpack it first"),
    ".gz": ("an archive", "unpack it first"),
    ".zip": ("an archive", "unpack it first"),
}


def what_is(path: Path) -> tuple[str, str]:
    """What a path is, when it holds no ``saved_model.pb``.

    Returns:
        What it is, and what to do about it.

    Raises:
        OSError: it cannot be looked at.
    """
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        return "nothing is there" if not path.exists() else "it is neither a file nor a folder", _NAME
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "the folder is empty", _SAVE
    for inner in sorted(names, key=lambda name: (parse_version(name) or 0, name), reverse=True):
        if (path / inner / "saved_model.pb").is_file():
            kind = "a folder of versions" if parse_version(inner) else "a folder around one"
            return f"it is {kind}", f"did you mean {path / inner}?"
    if "checkpoint" in names:
        return f"it is {_FILES['.index'][0]}", _FILES[".index"][1]
    if "variables" in names:
        return "its saved_model.pb is missing", "it was copied only in part; copy it again"
    for suffix, (kind, hint) in _FILES.items():
        if any(name.endswith(suffix) for name in names):
            return f"it is a folder with {kind}", hint
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    return f"the folder has no saved_model.pb (it has {shown})", _SAVE


def _file(path: Path) -> tuple[str, str]:
    if path.name == "saved_model.pb":
        return "it is the graph of one", f"did you mean its folder, {path.parent}?"
    found = next((words for suffix, words in _FILES.items() if path.name.endswith(suffix)), None)
    return (f"it is {found[0]}", found[1]) if found else ("it is a file, not a folder", _SAVE)
