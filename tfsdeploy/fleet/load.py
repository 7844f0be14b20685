"""From a fleet file to a `Fleet`: reading, every problem at once, defaults, and paths seen from the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tfsdeploy.errors import InvalidFile, Problem, UsageError
from tfsdeploy.fleet.addresses import resolved_path, resolved_store
from tfsdeploy.fleet.check import check
from tfsdeploy.fleet.grammar import FLEET
from tfsdeploy.fleet.keys import public_key
from tfsdeploy.fleet.model import Fleet, Store
from tfsdeploy.fleet.nodes import MAX_BYTES, Problems, decode, read_tree
from tfsdeploy.fleet.read import INVALID, Places, build, read


def load_fleet(path: Path) -> Fleet:
    """The fleet that a file describes.

    Args:
        path: the file; relative paths inside it are seen from its folder.

    Raises:
        InvalidFile: it cannot be read, or is not valid; all problems at once.
    """
    return parse_fleet(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a fleet file, line ends as they are.

    Raises:
        InvalidFile: it is missing, is no regular file, is larger than 1 MiB, or is not UTF-8.
    """
    try:
        if not path.exists():
            raise _unreadable(path, "there is no such file: `tfsdeploy init` writes one to start from")
        if not path.is_file():
            raise _unreadable(path, "not a regular file")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise _unreadable(path, f"cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise _unreadable(path, f"larger than {MAX_BYTES} bytes: this is no fleet file")
    return decode(content, str(path))


def parse_fleet(text: str, file: str) -> Fleet:
    """The fleet that a text describes.

    Args:
        text: the whole file.
        file: its path, for messages and as what relative paths are seen from. It need not exist.

    Raises:
        InvalidFile: the text is not valid; all problems at once, in the file's order.
    """
    problems = Problems(file)
    places: Places = {}
    values = read(FLEET, read_tree(text, problems), "", problems, places)
    if values is not INVALID:
        check(values, places, problems)
        _resolve_keys(values, resolved_path(file, Path.cwd()).parent, places, problems)
    problems.check()
    return _fleet(build(FLEET, values), resolved_path(file, Path.cwd()))


def check_files(path: Path) -> None:
    """Refuse a valid fleet file that names files which are not there.

    For whoever asks whether it is right; nothing else needs all of them, so that `load_fleet` does not look.

    Args:
        path: the file.

    Raises:
        InvalidFile: says which ones.
    """
    problems = Problems(str(path))
    places: Places = {}
    values = read(FLEET, read_tree(read_text(path), problems), "", problems, places)
    problems.check()
    for name, model in values["models"].items():
        if (named := model.get("example")) is not None:
            here = f"models.{name}.example"
            file = resolved_path(named, resolved_path(str(path), Path.cwd()).parent)
            if not file.is_file():
                problems.add(
                    places[here], here, f"there is no file {file}; write the request there, or correct the path"
                )
    problems.check()


def _resolve_keys(values: dict[str, Any], folder: Path, places: Places, problems: Problems) -> None:
    """Put public keys in the place of the files that hold them: agents elsewhere have no such files."""
    path = "storeOptions.requireSignature"
    options = values.get("storeOptions", {})
    named = options.get("requireSignature")
    if named is None:
        return
    keys = []
    for at, name in enumerate(named):
        here = f"{path}[{at}]"
        try:
            keys.append(public_key(name, folder))
        except UsageError as error:
            place = places.get(here, places[path])
            problems.add(place, here, f"{error.message} ({error.where}); {error.hint}")
    if not named:
        problems.add(places[path], path, "found no key, which would trust nobody; name one, or leave it out")
    options["requireSignature"] = tuple(keys)


def _fleet(values: dict[str, Any], file: Path) -> Fleet:
    serving = values["serving"]
    if serving.autoscale is not None:
        serving = replace(serving, replicas=serving.autoscale.min)
    if serving.min_available is None:
        serving = replace(serving, min_available=(serving.replicas + 1) // 2)
    if "/" in serving.server:
        serving = replace(serving, server=str(resolved_path(serving.server, file.parent)))
    models = {
        name: replace(model, example=resolved_path(model.example, file.parent)) if model.example else model
        for name, model in values["models"].items()
    }
    return Fleet(
        name=values["name"],
        file=file,
        target=values["target"],
        store=Store(resolved_store(values["store"], file.parent), values["storeOptions"]),
        serving=serving,
        gateway=values["gateway"],
        models=models,
        namespace=values["namespace"],
        agent=values["agent"],
        image_registry=values["imageRegistry"],
        image_pull_secrets=values["imagePullSecrets"],
        monitoring=values["monitoring"],
    )


def _unreadable(path: Path, message: str) -> InvalidFile:
    return InvalidFile(str(path), [Problem(0, 0, "", message)])
