"""Whether a version's files are all there: a folder that is still being filled loads without its variables otherwise.

What is only cut short needs no look: restoring reads every value, and fails. Imports TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import saved_model_loader

_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def check(path: str) -> None:
    """Look for the checkpoint that a graph with variables needs, and for its assets.

    Args:
        path: the version's folder.

    Raises:
        Failed: the model cannot be read; UNAVAILABLE: something is not there.
    """
    needed: set[Path] = set()
    for meta in saved_model_loader.read(path).meta_graphs:
        if any(node.op in _VARIABLES for node in meta.graph_def.node):
            needed.add(Path(path, "variables", "variables.index"))
        needed |= {Path(path, "assets", file.filename) for file in meta.asset_file_def}
    missing = sorted(file for file in needed if not file.exists())
    if missing:
        raise Failed("UNAVAILABLE", f"The version is not complete: there is no {', '.join(map(str, missing))}")
