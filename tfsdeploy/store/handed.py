"""What opens an object store, handed over as files to whoever has no surroundings of its own, such as a container.

It can be handed over anew, or mended, at any time: the next request is made with it.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.connect import GOOGLE_FILES, certificates, check_url, connect, profile_variables

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CREDENTIALS, AUTHORITY, GOOGLE = "credentials.json", "ca.pem", "google.json"
"""The names of the files: variables, the certificates of `ca_file`, a file that a Google variable names."""

FAMILIES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""Scheme of the store -> what the variables begin with that open it."""

_OF_THIS_MACHINE = {
    "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AZURE_FEDERATED_TOKEN_FILE",
}  # fmt: skip
"""They name what is not there elsewhere."""

_OPENS = re.compile("KEY|SECRET|TOKEN|SAS")
"""In the name of a variable without which the others open nothing; they must not take the place of some that do."""

_Stamp = tuple[int, int, int]


def to_hand_over(
    url: str, options: Mapping[str, object], environment: Mapping[str, str], folder: str
) -> dict[str, bytes]:
    """What this user has that opens a store.

    Args:
        url: of the store.
        options: see `tfsdeploy.store.connect.connect`.
        environment: the user's variables.
        folder: where it will be found.

    Returns:
        File name -> content; without credentials there is no `CREDENTIALS`.

    Raises:
        TfsdeployError: a file that is named cannot be read, in words without its content.
    """
    scheme, found = url.partition("://")[0], dict[str, bytes]()
    if options.get("ca_file"):
        found[AUTHORITY] = certificates(Path(str(options["ca_file"])))
    if options.get("anonymous"):
        return found
    family = FAMILIES[scheme]
    variables = {name: value for name, value in environment.items() if name.startswith(family) and value}
    if scheme == "s3":
        variables = profile_variables(environment) | variables
    for name in GOOGLE_FILES:
        if GOOGLE in found:
            # The first one counts, and is the only one that will be there.
            variables.pop(name, None)
        elif name in variables:
            found[GOOGLE] = _content(name, variables[name])
            variables[name] = f"{folder}/{GOOGLE}"
    variables = {name: value for name, value in variables.items() if name not in _OF_THIS_MACHINE}
    if GOOGLE in found or any(map(_OPENS.search, variables)):
        found[CREDENTIALS] = json.dumps(variables, sort_keys=True).encode()
    return found


class HandedBucket(Bucket):
    """A bucket that is opened with what is handed over, or with the surroundings, by the first request that can.

    Args:
        url: of the bucket, and a prefix in it.
        options: see `tfsdeploy.store.connect.connect`.
        file: `CREDENTIALS`; until it is there, and if it is None, the surroundings open the bucket.

    Raises:
        UsageError: the URL is that of no bucket.
    """

    def __init__(self, url: str, options: Mapping[str, object], file: Path | None) -> None:
        check_url(url)
        super().__init__(url.rstrip("/"), self._current, conditional=options.get("conditional_writes") is not False)
        self._options = options
        self._file = file
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._names: frozenset[str] = frozenset()
        self._opened: ObjectStore | None = None

    def _current(self) -> ObjectStore:
        with self._lock:
            if self._take():
                self._opened = None
            if self._opened is None:
                self._opened = connect(self.url, self._options)
            return self._opened

    def _take(self) -> bool:
        """Make what was handed over the surroundings; whether it is other than before."""
        if self._file is None:
            return False
        try:
            found = os.stat(self._file)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return False
            variables = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            # Not there yet, or being written just now.
            return False
        for name in self._names - variables.keys():
            os.environ.pop(name, None)
        os.environ.update(variables)
        self._names, self._stamp = frozenset(variables), stamp
        return True


def _content(name: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise TfsdeployError(f"{name} names a file that cannot be read: {error.strerror}", where=file) from error
