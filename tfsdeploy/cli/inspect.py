"""`tfsdeploy inspect`: what a SavedModel says of itself, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import UsageError

if TYPE_CHECKING:
    from tfsdeploy.store.savedmodel import SavedModelInfo, Signature


@declare(
    "inspect",
    examples=("tfsdeploy inspect ./export/ranker", "tfsdeploy inspect ranker 8", "tfsdeploy inspect ranker 8 -o json"),
    fields=(
        "path",
        "bytes",
        "tensorflow",
        "keras",
        "variables",
        "warmUp",
        "assets",
        "tags",
        "signatures",
        "others",
        "tflite",
    ),
)
@click.argument("what", metavar="PATH|MODEL", shell_complete=complete.models)
@click.argument("version", type=words.version, required=False, shell_complete=complete.versions)
@fleet_options(by_name=True, reads=True)
def command(call: Call, what: str, version: int | None) -> None:
    """Show the signatures, inputs and outputs of a SavedModel: of a folder, or of a model's version in the store.

    Signatures are those of the graph that TensorFlow Serving loads, which is the one tagged `serve`; graphs with other
    tags are shown below it, and a `model.tflite`, which it loads instead with `serving.flags.prefer_tflite_model`.
    """
    from tfsdeploy.store.savedmodel import inspect, to_plain

    if version is None:
        if not os.path.lexists(what):
            raise UsageError(f"there is no folder {what}", hint=f"in the store: tfsdeploy inspect {what} VERSION")
        found = inspect(Path(what))
    else:
        from tfsdeploy.cli.stores import readable
        from tfsdeploy.deploy.checks import check_committed

        store = readable(call)
        with call.report.patiently(lambda: f"{store.url}: {what} {version}"):
            check_committed(store, what, version)
            found = store.inspect(what, version)
    call.answer.give(to_plain(found))
    if not call.answer.json:
        click.echo("\n".join(_lines(found)))


def _lines(found: SavedModelInfo) -> list[str]:
    lines = [f"{found.path}: {found.bytes} bytes, {_made_by(found)}"]
    lines += ["carries warm-up requests"] * found.warm_up
    lines += [f"assets: {', '.join(found.assets)}"] * bool(found.assets)
    if found.signatures is not found.tflite:
        for graph in (found.served, *found.others):
            lines += ["", f"tags: {', '.join(graph.tags) or 'none'}", *_signature_lines(graph.signatures)]
    if found.tflite is not None:
        lines += ["", "model.tflite", *_signature_lines(found.tflite)]
    return lines


def _made_by(found: SavedModelInfo) -> str:
    if found.signatures is found.tflite:
        return "TFLite alone: served with serving.flags.prefer_tflite_model"
    variables = f"{found.variables} variable{'' if found.variables == 1 else 's'}"
    return f"TensorFlow {found.tensorflow or 'unknown'}{' with Keras' if found.keras else ''}, {variables}"


def _signature_lines(signatures: Mapping[str, Signature]) -> Iterator[str]:
    from tfsdeploy.store.savedmodel import shape_words

    for name, signature in signatures.items():
        yield f"  {name} ({signature.method or 'no method'})"
        for title, tensors in (("in ", signature.inputs), ("out", signature.outputs)):
            for alias, tensor in tensors.items():
                yield f"    {title}  {alias}: {tensor.dtype} {shape_words(tensor.shape)}  <- {tensor.tensor}"
