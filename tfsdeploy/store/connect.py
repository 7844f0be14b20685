"""From the URL of an object store and the fleet file's storeOptions to a client; credentials come from around us."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tfsdeploy.errors import UsageError
from tfsdeploy.store.answers import StoreClosed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# One request: a part of some megabytes, over a thin line too.
_REQUEST = timedelta(seconds=120)
_CONNECT = timedelta(seconds=5)

# Seven tries in about six seconds: a store that restarts is waited for, one that is not there is soon told.
_BACKOFF = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2}
_RETRY = {
    "max_retries": 6,
    "backoff": _BACKOFF,
    "retry_timeout": timedelta(seconds=150),
}

# GCS lets a name change once a second, and a claim comes and goes faster; the waits are half a second at least.
_RETRY_GCS = {**_RETRY, "backoff": {**_BACKOFF, "init_backoff": timedelta(milliseconds=500)}}

_AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_AWS_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)

GOOGLE_FILES = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_APPLICATION_CREDENTIALS")
"""The variables that name a file with Google's credentials, in the order in which they count."""
_AWS_STS = "AWS_ENDPOINT_URL_STS"
_AWS_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"

_SERVICE_ACCOUNT = "GOOGLE_APPLICATION_CREDENTIALS must name a service account's key file"
# What the client's errors have in their text when it is made: the first that is found counts.
_UNUSABLE = (
    ("Account must be specified", "no account is named", "set AZURE_STORAGE_ACCOUNT_NAME"),
    ("Unable to open service account file", "the file with Google's credentials cannot be read", _SERVICE_ACCOUNT),
    (
        "service account file: unknown variant",
        "Google's credentials are of a kind that cannot be used here, such as external_account",
        "hand over a token of them: GOOGLE_BEARER_TOKEN=$(gcloud auth print-access-token)",
    ),
    ("Unable to decode service account file", "Google's credentials are not what they should be", _SERVICE_ACCOUNT),
    ("pem file", "the private key in Google's credentials cannot be read", _SERVICE_ACCOUNT),
    ("RSA key", "the private key in Google's credentials cannot be read", _SERVICE_ACCOUNT),
    (
        "service account path or service account key",
        "two of Google's credentials are given",
        "unset one of GOOGLE_SERVICE_ACCOUNT and GOOGLE_SERVICE_ACCOUNT_KEY",
    ),
)
_PROFILE = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}


def connect(url: str, options: Mapping[str, object]) -> ObjectStore:
    """A client for the bucket of a URL, rooted at the URL's prefix. Touches no network.

    Args:
        url: ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.
        options: fields of `tfsdeploy.fleet.model.StoreOptions` by name; what is absent or None has its default.

    Raises:
        UsageError: the URL is none of those.
        StoreClosed: an option, or what this machine has to open it with, cannot be used: a CA file, a profile, a key.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    check_url(url)
    parts = urlsplit(url)
    bucket, prefix = parts.netloc, parts.path.strip("/") or None
    makers: dict[str, tuple[Callable[..., ObjectStore], Callable[[str, Mapping[str, object]], dict[str, Any]]]]
    makers = {"s3": (S3Store, _s3), "gs": (GCSStore, _gs), "az": (AzureStore, _az)}
    make, config_of = makers[parts.scheme]
    config = config_of(bucket, options)
    if options.get("anonymous"):
        config["skip_signature"] = True
    retry = _RETRY_GCS if parts.scheme == "gs" else _RETRY
    client: dict[str, Any] = {"timeout": _REQUEST, "connect_timeout": _CONNECT}
    endpoint = str(config.get("endpoint") or config.get("base_url") or "")
    if endpoint.startswith("http://"):
        client["allow_http"] = True
    if options.get("ca_file"):
        client["root_certificate"] = certificates(Path(str(options["ca_file"])))
    try:
        return make(bucket, prefix=prefix, client_options=client, retry_config=retry, **config)
    except Exception as error:
        # obstore.exceptions.BaseError, ValueError and more; their texts may hold what the environment held.
        for words, message, hint in _UNUSABLE:
            if words in str(error):
                raise StoreClosed(
                    message, where=(_google_named() if parts.scheme == "gs" else "") or url, hint=hint
                ) from error
        raise StoreClosed(
            f"the store's client cannot be set up: {type(error).__name__}",
            where=url,
            hint="look at storeOptions, its caFile, and the variables AWS_*, GOOGLE_* or AZURE_*",
        ) from error


def check_url(url: str) -> None:
    """Refuse what is no URL of an object store.

    Raises:
        UsageError: it is none, or holds more than a bucket and a prefix.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        # Not shown: a secret stands there.
        raise UsageError(
            "credentials do not belong into a URL", where=f"{parts.scheme}://…@…", hint="put them into the environment"
        )
    if parts.query or parts.fragment:
        # Nor is what stands there, such as a signature.
        raise UsageError("the URL of a store has no ? and no #", where=f"{parts.scheme}://{parts.netloc}{parts.path}?…")
    if parts.scheme not in ("s3", "gs", "az") or not parts.netloc:
        raise UsageError("this is no object store", where=url, hint="s3://BUCKET/PREFIX, gs://… or az://…")


def _s3(bucket: str, options: Mapping[str, object]) -> dict[str, Any]:
    # Not every server compares the digest of a signature with the bytes; of a checksum's all do that know them.
    config: dict[str, Any] = {"checksum_algorithm": "SHA256"}
    endpoint = str(options.get("endpoint") or next((e for n in _AWS_ENDPOINTS if (e := os.environ.get(n))), ""))
    path_style = options.get("path_style")
    if path_style is None:
        # Only the provider itself is sure to have a host name for each bucket.
        path_style = bool(endpoint)
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/") if path_style else _host_of_bucket(endpoint, bucket)
    config["virtual_hosted_style_request"] = not path_style
    profile = _profile()
    if not options.get("anonymous"):
        _check_identity(f"s3://{bucket}")
    if not options.get("anonymous") and not any(os.environ.get(name) for name in _AWS_CREDENTIALS):
        config |= {ours: profile[theirs] for theirs, ours in _PROFILE.items() if profile.get(theirs)}
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    config["region"] = region or profile.get("region") or "us-east-1"
    return config


def _check_identity(where: str) -> None:
    """Refuse what the client would pass over, to ask for the machine's own identity instead, or fail without a reason.

    Raises:
        StoreClosed: says which variable is to blame.
    """
    given = {name for name in (*_AWS_CREDENTIALS, _AWS_TOKEN_FILE) if os.environ.get(name)}
    if "AWS_ACCESS_KEY_ID" in given:
        return
    if "AWS_WEB_IDENTITY_TOKEN_FILE" in given:
        if os.environ.get(_AWS_STS, "").startswith("http://"):
            hint = "a token service is asked over TLS only; storeOptions.caFile names its authority, too"
            raise StoreClosed(f"{_AWS_STS} is not https://", where=where, hint=hint)
    elif given == {"AWS_CONTAINER_CREDENTIALS_FULL_URI"}:
        hint = f"credentials of containers are asked for with a token, as on EKS: {_AWS_TOKEN_FILE} names its file"
        raise StoreClosed(f"{_AWS_TOKEN_FILE} is not set", where=where, hint=hint)


def _gs(_: str, options: Mapping[str, object]) -> dict[str, Any]:
    return {"base_url": str(options["endpoint"]).rstrip("/")} if options.get("endpoint") else {}


def _az(_: str, options: Mapping[str, object]) -> dict[str, Any]:
    return {"endpoint": options["endpoint"]} if options.get("endpoint") else {}


def _host_of_bucket(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}".rstrip("/")


def profile_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What the AWS profile of the user says, as the variables that say the same; nothing that the environment has.

    Raises:
        StoreClosed: the profile cannot be read, or there is none of the name that is asked for.
    """
    profile, found = _profile(environment), dict[str, str]()
    if not any(environment.get(name) for name in _AWS_CREDENTIALS):
        found |= {theirs.upper(): profile[theirs] for theirs in _PROFILE if profile.get(theirs)}
    if profile.get("region") and not (environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")):
        found["AWS_REGION"] = profile["region"]
    return found


def google_file() -> Path:
    """Where Google's own program keeps the credentials of the user (``gcloud auth application-default login``)."""
    return Path("~/.config/gcloud/application_default_credentials.json").expanduser()


def _google_named() -> str:
    """The file that Google's credentials are read from; empty if they are read from none."""
    if os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY"):
        return ""
    named = next((file for name in GOOGLE_FILES if (file := os.environ.get(name))), "")
    return named or (str(google_file()) if google_file().exists() else "")


def _profile(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The AWS profile of the user: its region, and credentials if they are written there; empty if there is none."""
    home = Path("~/.aws").expanduser()
    name = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    shared = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    config = Path(environment.get("AWS_CONFIG_FILE") or home / "config")
    found: dict[str, str] = {}
    for file, section in ((config, f"profile {name}" if name else "default"), (shared, name or "default")):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(file)
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            # The error's text quotes lines of the file.
            hint = "mend it, or name another one: AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE"
            raise StoreClosed("the AWS profile cannot be read", where=str(file), hint=hint) from error
        if parser.has_section(section):
            found |= dict(parser[section])
    if name and not found:
        raise StoreClosed(f"there is no AWS profile {name!r}", where=str(shared), hint="correct AWS_PROFILE")
    return found


def certificates(file: Path) -> bytes:
    """The content of a CA file.

    Raises:
        StoreClosed: it cannot be read, or holds no certificate.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        hint = "put it there, or correct storeOptions.caFile"
        raise StoreClosed(f"the CA file cannot be read: {error.strerror}", where=str(file), hint=hint) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise StoreClosed("the CA file holds no certificate", where=str(file), hint="it must be in PEM form")
    return content
