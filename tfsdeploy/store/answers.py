"""What the errors of an object store mean, in words for whoever has to do something about them.

Only words of our own are shown: the texts that a client library makes hold URLs, whose queries can hold tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfsdeploy.errors import TfsdeployError


class StoreError(TfsdeployError):
    """An object store refused, and would again."""


class StoreAway(StoreError):
    """An object store did not answer, or could not now: trying again later may cure it."""


class StoreClosed(StoreError):
    """An object store does not let this machine in, or not so far: no version is to blame, and somebody may mend it."""


class Taken(StoreError):
    """A conditional write found that somebody else had written meanwhile; nothing was changed."""


class Replaced(StoreError):
    """An object is not the one any more that was asked for."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[StoreError]
    message: str
    hint: str = ""


_CREDENTIALS = "tfsdeploy takes credentials from the environment, the AWS profile or the workload's identity"
_CLOCK = _Meaning(StoreClosed, "the store refuses this machine's clock", "set the clock: NTP")
_EXPIRED = _Meaning(StoreClosed, "the credentials have expired", "get new ones, then run this again")
_NO_BUCKET = _Meaning(StoreClosed, "there is no such bucket", "create it, or correct store, region or endpoint")
_REGION = _Meaning(StoreClosed, "the bucket is in another region", "set storeOptions.region")
_WRONG_KEY = _Meaning(StoreClosed, "the store does not know the access key", _CREDENTIALS)
_WRONG_SECRET = _Meaning(StoreClosed, "the secret does not belong to the access key", _CREDENTIALS)
_DENIED = _Meaning(
    StoreClosed,
    "the store denies this to these credentials",
    "they need to list, read and write below it; to read is enough for replicas",
)
_NO_CREDENTIALS = _Meaning(StoreClosed, "no credentials were found", _CREDENTIALS)
_NO_ROLE = _Meaning(
    StoreClosed, "the identity's role cannot be assumed", "look at its trust policy, and at AWS_ROLE_ARN"
)
_NO_TOKEN = _Meaning(
    StoreClosed,
    "the identity is given no token",
    "look at AZURE_CLIENT_ID, AZURE_TENANT_ID and the federation of the identity",
)
_NOT_NOW = _Meaning(
    StoreAway,
    "who gives the identity its credentials does not answer, or not now",
    "try again later; if it never does, look at AWS_ENDPOINT_URL_STS or AZURE_AUTHORITY_HOST",
)
_THROTTLED = _Meaning(StoreAway, "the store asks to slow down", "try again later")
_CHANGED = _Meaning(StoreAway, "the bytes were changed on their way to the store", "run this again")
ALLOW = (
    "use one that has If-Match and If-None-Match: AWS, GCS, Azure, MinIO, Ceph, SeaweedFS; or, if never two write at a "
    "time, say so: storeOptions.conditionalWrites: false"
)
_UNCONDITIONAL = _Meaning(
    StoreError, "the store has no conditional writes, without which two publishers can spoil a version", ALLOW
)

# The <Code> of S3's and Azure's answers, and the XML ones of GCS.
_CODES = {
    "NoSuchBucket": _NO_BUCKET,
    "ContainerNotFound": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "AuthenticationFailed": _WRONG_SECRET,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "AccessDenied": _DENIED,
    "AuthorizationFailure": _DENIED,
    "AuthorizationPermissionMismatch": _DENIED,
    "SlowDown": _THROTTLED,
    "ServerBusy": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "NotImplemented": _UNCONDITIONAL,
    "BadDigest": _CHANGED,
    "InvalidDigest": _CHANGED,
    "InvalidPart": _CHANGED,
    "XAmzContentChecksumMismatch": _CHANGED,
    "XAmzContentSHA256Mismatch": _CHANGED,
    "QuotaExceeded": _Meaning(StoreError, "the store is full: its quota is used up"),
}

_STATUSES = {
    301: _REGION,
    307: _REGION,
    401: _Meaning(StoreClosed, "the store does not accept the credentials", _CREDENTIALS),
    403: _DENIED,
    404: _Meaning(StoreError, "it is not there"),
    408: _THROTTLED,
    409: _Meaning(StoreAway, "somebody else is writing the same object", "try again"),
    416: _Meaning(StoreAway, "the store gave fewer bytes than it had announced", "try again"),
    429: _THROTTLED,
    501: _UNCONDITIONAL,
    503: _THROTTLED,
    507: _Meaning(StoreError, "the store is full"),
}

# What is in the text if somebody other than the store was asked, for an identity's credentials, and what it means if
# these are refused: AWS STS (the client hides a URL that holds a token), Entra, and the agents of ECS and EKS.
_GIVERS = (
    ("S3 error: Error performing POST REDACTED", _NO_ROLE),
    ("oauth2/v2.0/token", _NO_TOKEN),
    ("169.254.170.", _NO_CREDENTIALS),
)

_PASSING = {"Throttling", "ThrottlingException", "IDPCommunicationError"}
"""The <Code> of STS where it says 400 and means that it may be asked again."""

# What the transport's errors have in their text: the first that is found counts.
_TRANSPORT = (
    ("incorrectly configured region", _REGION),
    ("169.254.169.254", _NO_CREDENTIALS),
    ("computeMetadata", _NO_CREDENTIALS),
    ("invalid_grant", _EXPIRED),
    (
        "token file",
        _Meaning(
            StoreClosed,
            "the token of the workload's identity cannot be read",
            "look at AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AZURE_FEDERATED_TOKEN_FILE",
        ),
    ),
    (
        "InvalidContentType",
        _Meaning(StoreClosed, "the endpoint speaks no TLS", "write http:// in storeOptions.endpoint"),
    ),
    (
        "UnknownIssuer",
        _Meaning(StoreClosed, "nobody trusted signed its certificate", "name the CA: storeOptions.caFile"),
    ),
    ("NotValidForName", _Meaning(StoreClosed, "its certificate is that of another host", "correct the endpoint")),
    ("certificate", _Meaning(StoreClosed, "its certificate is not accepted", "name the CA: storeOptions.caFile")),
    (
        "invalid path",
        _Meaning(StoreError, "an object there has a name that is no path", "rename it: no control characters, no .."),
    ),
    ("URL scheme is not allowed", _Meaning(StoreClosed, "the endpoint must be https://")),
    ("dns error", _Meaning(StoreAway, "the host of the endpoint has no address", "correct storeOptions.endpoint")),
    ("ConnectionRefused", _Meaning(StoreAway, "nothing listens at the endpoint", "correct it, or start the store")),
    ("TimedOut", _Meaning(StoreAway, "the store does not answer in time")),
    ("timed out", _Meaning(StoreAway, "the store does not answer in time")),
    ("Timeout", _Meaning(StoreAway, "the store does not answer in time")),
    ("Generic HTTP client error", _Meaning(StoreAway, "the connection to the store broke")),
    ("HttpError", _Meaning(StoreAway, "the connection to the store broke")),
    ("reqwest::Error", _Meaning(StoreAway, "the connection to the store broke")),
)

_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_STATUS = re.compile(r"status code: ([1-5][0-9]{2})\b")
_ANSWERED = re.compile(r"\bstatus: ([1-5][0-9]{2})\b")
_EXPECTED_REGION = re.compile(r"(?:expecting '|<Region>)([a-z0-9-]{1,64})")


def no_such_bucket(error: BaseException) -> bool:
    """Whether it is the bucket that is not there, rather than an object in it."""
    code = _CODE.search(str(error))
    return code is not None and _CODES.get(code[1]) is _NO_BUCKET


def meaning_of(error: BaseException, where: str) -> StoreError:
    """An error of the client library as one of ours.

    Args:
        error: what `obstore` raised.
        where: the object or bucket, without secrets.
    """
    text = str(error)
    found = _by_answer(text)
    hint = found.hint
    expected = _EXPECTED_REGION.search(text)
    if found is _REGION and expected:
        hint = f"set storeOptions.region to {expected[1]}"
    return found.kind(found.message, where=where, hint=hint)


def _by_answer(text: str) -> _Meaning:
    # What the surroundings answer when they are asked for credentials is not what the store answers.
    if any(place in text for place in ("169.254.169.254", "computeMetadata", "invalid_grant")):
        return _by_transport(text)
    for place, refused in _GIVERS:
        if place in text:
            return _by_giver(text, refused)
    code = _CODE.search(text)
    if code and code[1] in _CODES:
        return _CODES[code[1]]
    number = _status(text)
    if number is None:
        return _by_transport(text)
    if number in _STATUSES:
        return _STATUSES[number]
    shown = f" {code[1]}" if code else ""
    return _Meaning(StoreAway if number >= 500 else StoreError, f"the store answers {number}{shown}")


def _by_giver(text: str, refused: _Meaning) -> _Meaning:
    number, code = _status(text), _CODE.search(text)
    if number is None:
        found = _by_transport(text)
        # Such as a certificate: that does not pass.
        return found if found.kind is StoreClosed else _NOT_NOW
    passes = number in (408, 429) or number >= 500 or (code is not None and code[1] in _PASSING)
    return _NOT_NOW if passes else refused


def _status(text: str) -> int | None:
    found = _STATUS.search(text) or _ANSWERED.search(text)
    return int(found[1]) if found else None


def _by_transport(text: str) -> _Meaning:
    for words, meaning in _TRANSPORT:
        if words in text:
            return meaning
    return _Meaning(StoreAway, "the store does not give a proper answer")
