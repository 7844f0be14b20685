"""Give a version that another tool put into an object store its commit record."""

from __future__ import annotations

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.answers import Taken
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.claim import CLAIM_FILE
from tfsdeploy.store.hold import put_own
from tfsdeploy.store.listing import files_below
from tfsdeploy.store.record import File, Record, encode
from tfsdeploy.store.rehash import hash_new
from tfsdeploy.store.said import NOTHING, Said
from tfsdeploy.store.skeleton import describe
from tfsdeploy.store.source import check_number, new_record
from tfsdeploy.store.tree import Progress, silent
from tfsdeploy.store.upload import read_record


def adopt(
    bucket: Bucket, model_name: str, version: int, progress: Progress = silent, *, said: Said = NOTHING
) -> tuple[Record, bool]:
    """Read every file of a version, and write its record.

    Args:
        bucket: the store.
        model_name: the model.
        version: its number.
        progress: hears how many bytes are read.
        said: what stands in its record beside the files.

    Returns:
        The record, and whether there was one already.

    Raises:
        UsageError: no such version, or it is no complete SavedModel.
        Busy: somebody is publishing it.
        TfsdeployError: it changed meanwhile, or the store refuses.
    """
    check_number(version)
    if there := read_record(bucket, model_name, version):
        return there, True
    folder = f"{model_name}/{version}"
    entries = files_below(bucket, folder)
    if CLAIM_FILE in entries:
        raise Busy(
            "a push to this number has not ended, or was interrupted",
            where=folder,
            hint="run that push again, which finishes it; or remove its .claim, if all of its files are there",
        )
    if not entries:
        raise UsageError("there is no such version", where=bucket.where(folder))
    info = describe(bucket, folder, [File(name, entry.size, "") for name, entry in entries.items()])
    files = hash_new(bucket, entries, progress)
    if {n: e.etag for n, e in files_below(bucket, folder).items()} != {n: e.etag for n, e in entries.items()}:
        raise TfsdeployError(
            "it changed while it was read; nothing was adopted",
            where=bucket.where(folder),
            hint="adopt it when it is complete",
        )
    record = new_record(model_name, version, files, info, said)
    try:
        put_own(bucket, f"{folder}/{RECORD_FILE}", encode(record).encode(), create=True)
    except Taken:
        if there := read_record(bucket, model_name, version):
            return there, True
        raise
    return record, False
