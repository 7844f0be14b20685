"""The way to an engine on a machine that is reached by ssh: as `docker` itself goes, a program `ssh` a connection."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from tfsdeploy.errors import TfsdeployError

DIAL = "docker {}system dial-stdio"
"""Connects its input and output with the engine of the machine where it runs."""

CONNECT_SECONDS = 30
"""How long a machine may take to answer, as `docker` itself has it."""

FOLDER_BYTES = 50
"""The address of a socket has 104 bytes at least everywhere, and ssh writes 17 more behind the path of its own."""


class Way:
    """A socket that leads to the engine until this process ends; nobody else's processes can use it.

    Args:
        url: ``ssh://[USER@]HOST[:PORT][/SOCKET]``; ssh's own configuration, keys and agent count too.

    Raises:
        TfsdeployError: there is no ssh here, or the URL makes no sense.
    """

    def __init__(self, url: str) -> None:
        login, dial = login_of(urlsplit(url)), dial_of(urlsplit(url).path)
        if shutil.which("ssh") is None:
            hint = "install the package openssh-client, or reach the engine by tcp:// and TLS"
            raise TfsdeployError("DOCKER_HOST asks for ssh, which is not installed here", where=url, hint=hint)
        self._folder = Path(tempfile.mkdtemp("", "tfsdeploy-ssh-", short_enough(tempfile.gettempdir())))
        # One login serves all connections, unless the user's own configuration says how.
        shared = [] if _shares(login) else ["-oControlMaster=auto", f"-oControlPath={self._folder}/login"]
        self._argv = ["ssh", f"-oConnectTimeout={CONNECT_SECONDS}", *shared, *login, dial]
        self._said = self._folder / "said"
        self._children: list[subprocess.Popen[bytes]] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._folder / "engine"))
        self._listening.listen()
        atexit.register(self.close)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the engine is reached on this machine."""
        return f"unix://{self._folder}/engine"

    def words(self) -> str:
        """The last that ssh had to say; empty if nothing."""
        with suppress(OSError):
            lines = [line for line in self._said.read_text(errors="replace").splitlines() if line.strip()]
            return lines[-1].strip() if lines else ""
        return ""

    def close(self) -> None:
        """End every connection."""
        self._listening.close()
        for child in self._children:
            child.terminate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            try:
                with connection, self._said.open("ab") as said:
                    ends = connection.fileno()
                    child = subprocess.Popen(
                        self._argv, stdin=ends, stdout=ends, stderr=said, preexec_fn=_leave_interrupts
                    )
            except (OSError, subprocess.SubprocessError):
                # No room for another process, or the folder is gone: whoever connected sees it at once.
                continue
            self._children = [one for one in self._children if one.poll() is None] + [child]


def _leave_interrupts() -> None:
    """Ctrl-C is for the command, which still has something to say to the engine."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _shares(login: list[str]) -> bool:
    """Whether ssh's configuration already lets connections share a login."""
    done = subprocess.run(["ssh", "-G", *login], capture_output=True, text=True, check=False)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    return found.get("controlpath", "none") != "none"


def short_enough(folder: str) -> str:
    """Where sockets are made: the usual folder for what is temporary, unless their addresses would be too long."""
    return folder if len(os.fsencode(folder)) <= FOLDER_BYTES else "/tmp"


def dial_of(path: str) -> str:
    """What is run on the other machine, which has a shell: at the engine's usual socket, or at the one of this path."""
    return DIAL.format(f"--host {shlex.quote(f'unix://{path}')} " if path.strip("/") else "")


def login_of(parts: SplitResult) -> list[str]:
    """The words by which ssh is told whom to ask.

    Raises:
        TfsdeployError: the URL makes no sense, or holds a password.
    """
    if parts.password is not None:
        # Not with its place: a secret is not to be seen again.
        hint = "ssh-copy-id lets your key in, and ssh-agent remembers it; then ssh://USER@HOST is enough"
        raise TfsdeployError("DOCKER_HOST holds a password, which ssh does not take", hint=hint)
    try:
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError as error:
        hint = "ssh://USER@HOST, ssh://USER@HOST:PORT"
        raise TfsdeployError(f"DOCKER_HOST makes no sense: {error}", where=parts.geturl(), hint=hint) from error
    if not host or host.startswith("-"):
        hint = "ssh://USER@HOST, ssh://USER@HOST:PORT"
        raise TfsdeployError("DOCKER_HOST names no host", where=parts.geturl(), hint=hint)
    return [*(["-l", user] if user else []), *(["-p", str(port)] if port else []), "--", host]
