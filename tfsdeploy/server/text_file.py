"""Protobuf text files, read with the original's words for what is wrong with them (server.cc, ParseProtoTextFile)."""

from __future__ import annotations

import errno
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
}


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

    try:
        text = Path(file).read_text()
        text_format.Parse(text, message)
    except OSError as error:
        raise failed(file, error) from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        say(f"Error parsing text-format {message.DESCRIPTOR.full_name}: {error}")
        raise Failed("INVALID_ARGUMENT", f"Invalid protobuf file: '{file}'") from error
    if not text:
        raise Failed("INVALID_ARGUMENT", f"{file}; Invalid argument")  # the original maps the file into memory
    return message


def failed(path: str, error: OSError) -> Failed:
    """What the original says of a path that cannot be used."""
    return Failed(_CODES.get(error.errno or 0, "UNKNOWN"), f"{path}; {error.strerror}")
