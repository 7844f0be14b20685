"""Protobuf text files, read with the original's words for what is wrong with them (server.cc, ParseProtoTextFile)."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.flags import say

# core/platform/errors.cc; the others are UNKNOWN.
_CODES: Final[Mapping[int, str]] = {
    errno.ENOENT: "NOT_FOUND",
    errno.EACCES: "PERMISSION_DENIED",
    errno.EPERM: "PERMISSION_DENIED",
    errno.EISDIR: "FAILED_PRECONDITION",
    errno.ENOTDIR: "FAILED_PRECONDITION",
    errno.EINVAL: "INVALID_ARGUMENT",
    errno.ENAMETOOLONG: "INVALID_ARGUMENT",
    errno.ESTALE: "ABORTED",
    errno.ETIMEDOUT: "DEADLINE_EXCEEDED",
    errno.EMFILE: "RESOURCE_EXHAUSTED",
    errno.ENFILE: "RESOURCE_EXHAUSTED",
    errno.ENOMEM: "RESOURCE_EXHAUSTED",
    errno.EAGAIN: "UNAVAILABLE",
    errno.EHOSTDOWN: "UNAVAILABLE",
    errno.EHOSTUNREACH: "UNAVAILABLE",
}

_ERROR = re.compile(r"(\d+):(\d+) : (.*)", re.DOTALL)
_IDENTIFIER = re.compile(r"Expected identifier or number, got (.*)\.\Z", re.DOTALL)
_NAME_AND_BLANKS = re.compile(r"[\w.\[\]/]*(?:\s|#[^\n]*)*")


def parse(file: str, message: Any) -> Any:
    """Fill a message from a file.

    Args:
        file: its path.
        message: it must be empty.

    Returns:
        The message.

    Raises:
        Failed: the file cannot be read, is empty, or its text is not that of such a message.
    """
    from google.protobuf import text_format

    text = ""
    try:
        text = Path(file).read_text()
        text_format.Parse(text, message)
    except OSError as error:
        raise failed(file, error) from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        say(f"Error parsing text-format tensorflow.serving.{message.DESCRIPTOR.name}: {_told(error, text)}", "ERROR")
        raise Failed("INVALID_ARGUMENT", f"Invalid protobuf file: '{file}'") from error
    if not text:
        raise Failed("INVALID_ARGUMENT", f"{file}; Invalid argument")  # the original maps the file into memory
    return message


def _told(error: Exception, text: str) -> str:
    """A parse error as Protobuf's C++ words it: its place is that of the token after the one that it read."""
    found = _ERROR.match(str(error))
    if found is None:
        return str(error)
    line, column, words = int(found[1]), int(found[2]), found[3].replace("tfsdeploy.wire.", "tensorflow.serving.")
    if words == 'Expected "}".':
        # Python looks for the end of the message; C++ for its next field.
        line, column, words = *_place(text, len(text)), "Expected identifier, got: "
    elif "has no field named" in words:
        start = sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column - 1
        after = _NAME_AND_BLANKS.match(text, start)
        line, column = _place(text, after.end() if after else start)
    elif got := _IDENTIFIER.search(words):
        words = f"Expected identifier, got: {got[1]}"
    return f"{line}:{column}: {words}"


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def failed(path: str, error: OSError) -> Failed:
    """What the original says of a path that cannot be used."""
    return Failed(_CODES.get(error.errno or 0, "UNKNOWN"), f"{path}; {error.strerror}")
