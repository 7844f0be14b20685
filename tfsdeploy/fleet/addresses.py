"""URLs and secrets in a fleet file: what a store's address may be, and what must never stand in it."""

from __future__ import annotations

import os.path
import re
from pathlib import Path

_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?![A-Za-z0-9.-]{{254}}){_HOST_LABEL}(?:\.{_HOST_LABEL})*"
_BUCKET = r"[a-z0-9](?:[a-z0-9._-]{1,220}[a-z0-9])"
_SEGMENTS = r"(?:/[A-Za-z0-9_.=+~-]+)*/?"

_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"

OBJECT_NAME_PATTERN = rf"(?![a-z0-9.-]{{254}}){_DNS_LABEL}(?:\.{_DNS_LABEL})*"
"""A DNS subdomain, as the names of Kubernetes' objects are (apimachinery/pkg/util/validation)."""

SECRET_NAME_PATTERN = OBJECT_NAME_PATTERN

STORES = {
    "file": (r"(?:\.{0,2}/|[A-Za-z0-9_])[^\x00-\x1f?#%]*", "file:///srv/models, or file://./models beside this file"),
    "nfs": (rf"{_HOST}{_SEGMENTS}", "nfs://HOST/PATH"),
    "pvc": (rf"{OBJECT_NAME_PATTERN}{_SEGMENTS}", "pvc://CLAIM/PATH"),
    "s3": (rf"{_BUCKET}{_SEGMENTS}", "s3://BUCKET/PREFIX"),
    "gs": (rf"{_BUCKET}{_SEGMENTS}", "gs://BUCKET/PREFIX"),
    "az": (rf"{_BUCKET}{_SEGMENTS}", "az://CONTAINER/PREFIX"),
}

STORE_PATTERN = "|".join(f"{scheme}://{rest}" for scheme, (rest, _) in STORES.items())


_OBJECT_STORES = ("s3", "gs", "az")

REFERENCE_ONLY = (
    "secrets do not belong into this file: put them into a Secret (or the environment) and name it in credentialsSecret"
)

SECRET_KEYS = dict.fromkeys(
    (
        "accessKey", "accessKeyId", "accessKeySecret", "accountKey", "apiKey", "awsAccessKeyId", "awsSecretAccessKey",
        "bearerToken", "connectionString", "credentials", "key", "keyFile", "password", "privateKey", "sasToken",
        "secret", "secretAccessKey", "secretKey", "serviceAccountKey", "sessionToken", "token", "user", "username",
    ),
    REFERENCE_ONLY,
)  # fmt: skip


def complain_about_store(url: str) -> str | None:
    """What is wrong with a store's URL, without repeating what may be a secret; None if nothing is."""
    scheme, separator, rest = url.partition("://")
    if secret := _secret_in(rest if separator else url):
        return secret
    if not separator:
        such = f"file://{url}" if url.startswith("/") else "file://./models"
        return f"found no scheme; write one of {', '.join(f'{known}://' for known in STORES)}, such as {such}"
    if scheme not in STORES:
        known = ", ".join(f"{known}://" for known in STORES)
        return f"found the scheme {scheme[:20]!a}; write one of {known}"
    pattern, example = STORES[scheme]
    if re.fullmatch(pattern, rest) is None:
        return f"not a {scheme}:// address; write {example}"
    if scheme != "file" and ".." in rest.split("/"):
        return f"a path with .. leaves the store; write {example}"
    return None


def complain_about_endpoint(url: str) -> str | None:
    """What is wrong with an object store's endpoint, without repeating what may be a secret; None if nothing is."""
    return _secret_in(url.partition("://")[2] or url)


def complain_about_secret_name(name: str) -> str | None:
    """What is wrong with a Secret's name, without repeating it: it may be the secret itself; None if nothing is."""
    if re.fullmatch(SECRET_NAME_PATTERN, name) is None:
        return f"not the name of a Secret (a-z, 0-9, - and .): {REFERENCE_ONLY}"
    return None


def _secret_in(rest: str) -> str | None:
    if "@" in rest.partition("/")[0]:
        return f"there are credentials before the @: {REFERENCE_ONLY}"
    if "?" in rest:
        return f"there are parameters after the ?, which may hold a key: {REFERENCE_ONLY}"
    return None


def resolved_store(url: str, folder: Path) -> str:
    """``url`` without a trailing slash; a relative ``file://`` one seen from ``folder``."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return f"file://{resolved_path(rest, folder)}"
    return url.rstrip("/")


def resolved_path(path: str, folder: Path) -> Path:
    """``path`` as seen from ``folder``, without ``.`` and ``..``; symbolic links stay."""
    return Path(os.path.normpath(folder / path))


def is_object_store(url: str) -> bool:
    """Whether a store is one that is fetched from, and not a folder or a volume."""
    return url.partition("://")[0] in _OBJECT_STORES
