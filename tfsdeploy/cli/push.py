"""`tfsdeploy push MODEL DIR`: publish a SavedModel as a version."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument
from tfsdeploy.cli.signing import SIGN_HELP, check_asked, signing
from tfsdeploy.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from tfsdeploy.store.record import Check


@declare(
    "push",
    examples=(
        "tfsdeploy push ranker ./export/ranker",
        "tfsdeploy push ranker ./export/ranker --version 8 --check",
        "tfsdeploy push ranker ./export/ranker --sign release.pem",
        "tfsdeploy push ranker --from s3://models/training/ranker/export",
    ),
    exits=(0, 1, 2, 5, 130),
    fields=("model", "version", "digest", "bytes", "store", "check", "signed"),
)
@model_argument
@click.argument("folder", type=click.Path(path_type=Path), metavar="[DIR]", required=False)
@click.option(
    "--version",
    type=words.version_or_auto,
    metavar="VERSION",
    help="Its number, or `auto`: the next one.  [default: auto]",
)
@click.option("--check", is_flag=True, help="Load it once first, with its warm-up and golden requests.")
@click.option("--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help=SIGN_HELP)
@click.option("--from", "source", metavar="URL", help="Where the SavedModel is, instead of DIR.")
@fleet_options(by_name=True)
def command(
    call: Call,
    model: str,
    folder: Path | None,
    version: int | None,
    check: bool,
    key: Path | None,
    source: str | None,
) -> None:
    """Publish the SavedModel in DIR, or its model.tflite, as a version of MODEL.

    The version exists, whole and recorded, or not at all. Its number never stands for other bytes: one that is taken
    is refused (exit 5). The next number is higher than any that the store holds or the fleet's history remembers.

    --check loads it in the embedded server, answers its warm-up requests, compares its answers with those of
    golden.json beside the model, and records what that took. What --from names in the store's own bucket, the store
    copies itself.
    """
    from tfsdeploy.cli.stores import highest_known, models_of
    from tfsdeploy.store.record import check_to_plain
    from tfsdeploy.store.said import Said
    from tfsdeploy.store.savedmodel import is_tflite_alone

    if (folder is None) == (source is None):
        raise UsageError("name the SavedModel: DIR or --from URL, one of them")
    stored = models_of(call)
    store = stored.store
    call.answer.know(model=model, version=version, store=store.url)
    sign = signing(store, key)
    check_asked(store, key)
    progress = partial(call.report.progress, model)
    with ExitStack() as stack:
        if source is not None:
            from tfsdeploy.store.elsewhere import Elsewhere

            elsewhere = Elsewhere(source, store, stored.options)
        found = digest = tried = None
        if check:
            from tfsdeploy.deploy.trial import try_out
            from tfsdeploy.store.origin import Folder
            from tfsdeploy.store.record import digest_of

            tried = folder or stack.enter_context(elsewhere.folder(progress))
            # What is published must be what was tried.
            digest = digest_of(Folder(tried).hashed(progress))
            found = try_out(tried, call.report, prefer_tflite=_prefers_tflite(call) is True)
            call.report.say(_found(found))
        elif folder is not None:
            from tfsdeploy.store.golden import beside

            # What nobody could understand at the gate of a promote is told now.
            beside(folder)
        origin = folder or stack.enter_context(elsewhere.origin(progress, tried))
        try:
            record, was_there = store.publish(
                model,
                origin,
                version,
                progress,
                above=highest_known(call, model) if version is None else 0,
                said=Said(check=found, digest=digest, sign=sign),
            )
        except KeyboardInterrupt:
            hint = f"the same command continues; `tfsdeploy versions {model}` shows what is published"
            raise Interrupted("interrupted", where=store.url, hint=hint) from None
    if was_there and found is not None and record.check is None:
        call.report.warn("it was published without a check, and its commit record stays as it is")
    if was_there and key is not None:
        from tfsdeploy.store.signing import as_compared

        # The bytes were compared just now.
        record = store.sign(model, record.version, as_compared(sign, record))
    call.report.clear()
    if _prefers_tflite(call) is False and is_tflite_alone(file.path for file in record.files):
        call.report.warn(
            f"{model} {record.version} is a TFLite model alone, which fleet {call.fleet.name} does not load: write "
            "prefer_tflite_model: true below serving.flags, and `tfsdeploy up`"
        )
    call.answer.give(
        {
            "version": record.version,
            "digest": record.digest,
            "bytes": record.bytes,
            "check": check_to_plain(record.check) if record.check else None,
            "signed": [signed.key for signed in record.signed],
        }
    )
    if not call.answer.json:
        did = "is there already, with a commit record of the same bytes" if was_there else "is published"
        click.echo(f"{model} {record.version} {did} ({record.bytes} bytes, {record.digest[:19]}…)")
        for signed in record.signed:
            click.echo(f"signed by {signed.key}")


def _prefers_tflite(call: Call) -> bool | None:
    """Whether the fleet's model servers load TFLite models where there are some; None if its file is not at hand."""
    return None if call.named else call.fleet.serving.flags.get("prefer_tflite_model") is True


def _found(check: Check) -> str:
    asked = f"{check.warm_up} warm-up and {check.golden} golden requests answered"
    return f"loaded in {check.load_seconds:.2f} s with TensorFlow {check.tensorflow}, {asked}"
