"""`tfsdeploy inspect`: what a SavedModel says of itself, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import UsageError

if TYPE_CHECKING:
    from tfsdeploy.store.savedmodel import SavedModelInfo, Tensor


@declare(
    "inspect",
    examples=("tfsdeploy inspect ./export/ranker", "tfsdeploy inspect ranker 8", "tfsdeploy inspect ranker 8 -o json"),
    fields=("path", "bytes", "tensorflow", "tags", "signatures"),
)
@click.argument("what", metavar="PATH|MODEL", shell_complete=complete.models)
@click.argument("version", type=words.version, required=False, shell_complete=complete.versions)
@fleet_options(by_name=True)
def command(call: Call, what: str, version: int | None) -> None:
    """Show the signatures, inputs and outputs of a SavedModel: of a folder, or of a model's version in the store."""
    from tfsdeploy.store.savedmodel import inspect

    if version is None:
        if not Path(what).exists():
            raise UsageError(f"there is no folder {what}", hint=f"in the store: tfsdeploy inspect {what} VERSION")
        found = inspect(Path(what))
    else:
        from tfsdeploy.cli.stores import models_of
        from tfsdeploy.deploy.checks import check_committed

        store = models_of(call)
        check_committed(store, what, version)
        found = store.inspect(what, version)
    call.answer.give(_plain(found))
    if not call.answer.json:
        click.echo("\n".join(_lines(found)))


def _plain(found: SavedModelInfo) -> dict[str, Any]:
    signatures = {
        name: {
            "method": signature.method,
            "inputs": {alias: _tensor(tensor) for alias, tensor in signature.inputs.items()},
            "outputs": {alias: _tensor(tensor) for alias, tensor in signature.outputs.items()},
        }
        for name, signature in found.signatures.items()
    }
    return {
        "path": str(found.path),
        "bytes": found.bytes,
        "tensorflow": found.tensorflow,
        "tags": list(found.tags),
        "signatures": signatures,
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "dtype": tensor.dtype,
        "shape": None if tensor.shape is None else [-1 if size is None else size for size in tensor.shape],
        "name": tensor.tensor,
    }


def _lines(found: SavedModelInfo) -> list[str]:
    from tfsdeploy.store.savedmodel import shape_words

    made_by = found.tensorflow or "unknown"
    lines = [f"{found.path}: {found.bytes} bytes, TensorFlow {made_by}, tags {' '.join(found.tags)}"]
    for name, signature in found.signatures.items():
        lines += ["", f"{name} ({signature.method or 'no method'})"]
        for title, tensors in (("in ", signature.inputs), ("out", signature.outputs)):
            for alias, tensor in tensors.items():
                lines.append(f"  {title}  {alias}: {tensor.dtype} {shape_words(tensor.shape)}  <- {tensor.tensor}")
    return lines
