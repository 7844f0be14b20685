"""Classify, Regress and MultiInference: tf.Examples in, classes or values out, in the original's words.

The order of the checks is that of servables/tensorflow/{classifier,regressor,multi_inference,util}.cc.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.dtype_names import name_of

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Servable

Array = np.ndarray[Any, Any]
Method = Literal["classify", "regress"]

Classification = list[tuple[bytes, np.float32]]
"""One example's classes: label and score."""

INPUTS = "inputs"
_TITLES: Mapping[Method, str] = {"classify": "classification", "regress": "regression"}


@dataclass(frozen=True, slots=True)
class Task:
    """What one signature is asked for."""

    method: Method
    signature: str


@dataclass(frozen=True, slots=True)
class Result:
    """What one signature answered: one of the two, an entry an example."""

    task: Task
    classifications: Sequence[Classification] = ()
    regressions: Sequence[np.float32] = ()


def serialized(given: Any) -> list[bytes]:
    """The examples of a ``tensorflow.serving.Input``, each with the context that all share.

    Raises:
        Failed: INVALID_ARGUMENT: there is none.
    """
    if given.WhichOneof("kind") == "example_list_with_context":
        shared = given.example_list_with_context.context.SerializeToString()
        # Two messages one after the other are one: what the second says counts.
        found = [shared + example.SerializeToString() for example in given.example_list_with_context.examples]
    else:
        found = [example.SerializeToString() for example in given.example_list.examples]
    if not found:
        raise _wrong("Input is empty.")
    return found


def check(model: Servable, task: Task, *, check_method: bool = False) -> None:
    """Whether a signature can do what it is asked for.

    Args:
        model: has the signature.
        task: what is asked.
        check_method: the signature must also be for this method by its name.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    signature = model.signatures[task.signature]
    title = _TITLES[task.method]
    method = f"tensorflow/serving/{task.method}"
    if check_method and signature.method_name != method:
        raise _wrong(f"Expected {title} signature method_name to be {method}. Was: {signature.method_name}")
    if len(signature.inputs) != 1:
        raise _wrong("Expected one input Tensor.")
    if task.method == "regress" and len(signature.outputs) != 1:
        raise _wrong("Expected one output Tensor.")
    if task.method == "classify" and len(signature.outputs) not in (1, 2):
        raise _wrong(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise _wrong(f"No {title} inputs found in SignatureDef: {_shown(signature)}")
    if task.method == "regress" and "outputs" not in signature.outputs:
        raise _wrong(f"No {title} outputs found in SignatureDef: {_shown(signature)}")
    if task.method == "classify" and not {"classes", "scores"} & set(signature.outputs):
        raise _wrong(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {_shown(signature)}"
        )


def run(
    model: Servable, tasks: Sequence[Task], examples: Sequence[bytes], timeout_ms: int = 0, *, wait: bool = True
) -> list[Mapping[str, Array]]:
    """Ask signatures of one model about the same examples; `check` has let them pass.

    Args:
        model: the model.
        tasks: each signature at most once.
        examples: serialized.
        timeout_ms: for each signature's run; 0: no limit.
        wait: for others' runs.

    Returns:
        The outputs of each task's signature, by alias.

    Raises:
        Failed: in the words of TF Serving or TensorFlow.
        WouldWait: others run, and ``wait`` is not set.
    """
    calls = [model.call(task.signature, timeout_ms) for task in tasks]
    # The original runs all of them at once, with each input tensor once, by name.
    tensors = {given.tensor: given.dtype for call in calls for given in call.inputs}
    for at, (_, dtype) in enumerate(sorted(tensors.items())):
        if dtype.kind != "O":
            raise _wrong(f"Expects arg[{at}] to be {name_of(dtype)} but string is provided")
    batch = np.empty(len(examples), dtype=object)
    batch[:] = list(examples)
    return [model.run(call, {INPUTS: batch}, wait=wait) for call in calls]


def results(tasks: Sequence[Task], outputs: Sequence[Mapping[str, Array]], count: int) -> list[Result]:
    """What `run` gave, as classes and values.

    Args:
        tasks: what was asked.
        outputs: of each of them.
        count: of the examples.

    Raises:
        Failed: INVALID_ARGUMENT: it is neither.
    """
    return [
        Result(task, classifications=_classifications(given, count))
        if task.method == "classify"
        else Result(task, regressions=_regressions(given["outputs"], count))
        for task, given in zip(tasks, outputs, strict=True)
    ]


def _classifications(outputs: Mapping[str, Array], count: int) -> list[Classification]:
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, array, kind, dtype in (("classes", classes, "O", "DT_STRING"), ("scores", scores, "f", "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise _wrong(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if array.dtype.kind != kind or (kind == "f" and array.dtype.itemsize != 4):
            raise _wrong(f"Expected {name} Tensor of {dtype}. Got: DT_{name_of(array.dtype).upper()}")
        if array.shape[0] != count:
            raise _wrong(f"Expected {name} output batch size of {count}. Got: {array.shape[0]}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise _wrong(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    shape = (classes if scores is None else scores).shape  # type: ignore[union-attr]
    labels = np.full(shape, b"", dtype=object) if classes is None else classes
    numbers = np.zeros(shape, np.float32) if scores is None else scores
    return [list(zip(of_one, of_score, strict=True)) for of_one, of_score in zip(labels, numbers, strict=True)]


def _regressions(array: Array, count: int) -> list[np.float32]:
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise _wrong(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if array.shape[0] != count:
        raise _wrong(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
    if array.dtype != np.float32:
        raise _wrong(f"Expected output Tensor of DT_FLOAT.  Got: DT_{name_of(array.dtype).upper()}")
    return list(array.ravel())


def _shown(signature: Any) -> str:
    """A signature definition as the original repeats it: its maps in the order of their keys."""
    from google.protobuf import text_format

    # Numbers of default inputs; C++ writes whole ones without a point.
    return _NUMBER.sub(lambda found: found[1] + _number(found[2], found[3]), text_format.MessageToString(signature))


_NUMBER = re.compile(r"(\b(float|scomplex|dcomplex|double)_val: )(\S+)")


def _number(kind: str, text: str) -> str:
    """A number as Protobuf's C++ text format writes it: as short as it can be read back (strtod, io/strtod.cc)."""
    value = float(text)
    short, long = (6, 9) if kind in ("float", "scomplex") else (15, 17)
    shown = f"{value:.{short}g}"
    same = np.float32(shown) == np.float32(value) if short == 6 else float(shown) == value
    return shown if same or value != value else f"{value:.{long}g}"


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)
