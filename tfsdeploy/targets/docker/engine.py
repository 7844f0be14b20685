"""One Docker engine, local or remote, through the official SDK: thin, with every failure in one clear line."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.render.docker.container import HEALTH_SECONDS, LABEL, LOG_OPTIONS, TMP, USER, Container
from tfsdeploy.report import Report
from tfsdeploy.targets.docker.observed import Seen, seen
from tfsdeploy.targets.docker.refusals import no_image, refused, unanswered

if TYPE_CHECKING:
    from tfsdeploy.targets.docker.ssh import Way

ANSWER_SECONDS = 60

AUTHORITIES_OF_REQUESTS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables by which the SDK's HTTP library is told whom to trust."""


class NotRunning(TfsdeployError):
    """A container in which a command was to run is not there, or does not run."""


class NetworkGone(TfsdeployError):
    """A container cannot start on a network that was removed."""


class Engine:
    """Requests to one engine; opened at the first one. ``DOCKER_HOST`` and its companions say which."""

    @cached_property
    def client(self) -> Any:
        """The SDK's client.

        Raises:
            TfsdeployError: the SDK is missing, or ``DOCKER_HOST`` makes no sense.
        """
        try:
            import docker
        except ImportError as error:
            hint = "pip install 'tfsdeploy[docker]'"
            raise TfsdeployError("the target docker needs the package docker", hint=hint) from error
        with self._said():
            if self._way is not None:
                return docker.DockerClient(self._way.url, timeout=ANSWER_SECONDS)
            if os.environ.get("DOCKER_TLS_VERIFY"):
                # They would be asked in the place of the authority in DOCKER_CERT_PATH.
                for name in AUTHORITIES_OF_REQUESTS:
                    os.environ.pop(name, None)
            return docker.from_env(timeout=ANSWER_SECONDS)

    @cached_property
    def _way(self) -> Way | None:
        """How an engine is reached that only ssh leads to."""
        if not self.url.startswith("ssh://"):
            return None
        # The SDK's own way needs another implementation of ssh, which every command would import.
        from tfsdeploy.targets.docker.ssh import Way

        return Way(self.url)

    @property
    def url(self) -> str:
        """Where the engine is."""
        return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that its networks and folders are this machine's."""
        return self.url.startswith("unix://")

    @property
    def host(self) -> str:
        """The machine that it is on, as this one reaches it."""
        return "127.0.0.1" if self.is_local else urlsplit(self.url).hostname or "127.0.0.1"

    def words(self) -> str:
        """Which engine this is.

        Raises:
            TfsdeployError: it does not answer.
        """
        with self._said():
            found = self.client.version()
        return f"{self.url}: Docker {found['Version']}"

    def observed(self, fleet_name: str) -> tuple[Seen, ...]:
        """The containers of a fleet, in the order of their numbers."""
        with self._said():
            rows = self.client.api.containers(all=True, filters={"label": f"{LABEL}.fleet={fleet_name}"})
        found = [one for row in rows if (one := seen(row)) is not None]
        return tuple(sorted(found, key=lambda one: (one.kind, one.ordinal, one.name)))

    def elsewhere(self, fleet_name: str) -> tuple[Seen, ...]:
        """The containers of all other fleets that run."""
        with self._said():
            rows = self.client.api.containers(filters={"label": f"{LABEL}.fleet"})
        others = (row for row in rows if row["Labels"].get(f"{LABEL}.fleet") != fleet_name)
        return tuple(one for row in others if (one := seen(row)) is not None)

    def need_image(self, image: str, report: Report) -> None:
        """See that an image is there, and pull it if it is not.

        Raises:
            TfsdeployError: nobody has it.
        """
        import docker

        with self._said(), suppress(docker.errors.ImageNotFound):
            self.client.images.get(image)
            return
        report.say(f"pull    {image}")
        layers: dict[str, tuple[int, int]] = {}
        with self._said():
            try:
                # The SDK takes tag and digest from the name; without either it asks for `latest`.
                for row in self.client.api.pull(image, stream=True, decode=True):
                    if "error" in row:
                        raise no_image(image, row["error"])
                    if row.get("status") == "Downloading" and (total := row["progressDetail"].get("total")):
                        # The engine leaves out what is 0.
                        layers[row["id"]] = (row["progressDetail"].get("current", 0), total)
                        done, of = (sum(numbers) for numbers in zip(*layers.values(), strict=True))
                        report.progress(f"pull {image}", done, of)
            except docker.errors.APIError as error:
                raise no_image(image, error.explanation or str(error)) from error

    def make_network(self, name: str, labels: Mapping[str, str]) -> None:
        """A bridge, unless it is there."""
        with self._said():
            rows = [row for row in self.client.api.networks(names=[name]) if row["Name"] == name]
            if rows:
                _check_ours(f"network {name}", rows[0].get("Labels"), labels)
            else:
                self.client.networks.create(name, driver="bridge", labels=dict(labels), check_duplicate=True)

    def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """A volume, unless it is there."""
        import docker

        with self._said():
            try:
                _check_ours(f"volume {name}", self.client.volumes.get(name).attrs.get("Labels"), labels)
            except docker.errors.NotFound:
                self.client.volumes.create(name, labels=dict(labels))

    def has_volume(self, name: str) -> bool:
        """Whether a volume is there, whoever made it."""
        with self._said():
            found = self.client.api.volumes(filters={"name": name})
        return any(row["Name"] == name for row in found["Volumes"] or ())

    def start(self, container: Container, network: str, labels: Mapping[str, str]) -> None:
        """Make a container and start it.

        Raises:
            TfsdeployError: its name is somebody else's, a port is busy, its folder is not there; nothing of it is left.
        """
        from docker import types

        # The client's `containers.create` knows no stop_timeout, so it is the call beneath.
        api = self.client.api
        options: dict[str, Any] = {}
        placed: dict[str, Any] = {"network_mode": "host"}
        if container.network == "fleet":
            ports = {f"{port.container}/tcp": (port.address, port.host) for port in container.ports}
            placed = {"network_mode": network, "port_bindings": ports}
            options = {
                "networking_config": {network: None},
                "ports": [(port.container, "tcp") for port in container.ports],
            }
        if container.entrypoint:
            options["entrypoint"] = list(container.entrypoint)
        if container.health:
            nanos = {key: value * 10**9 for key, value in HEALTH_SECONDS.items()}
            options["healthcheck"] = {"test": ["CMD", "/bin/bash", "-c", container.health], "retries": 3, **nanos}
        if container.gpus:
            placed["device_requests"] = [types.DeviceRequest(count=container.gpus, capabilities=[["gpu"]])]
        with self._said(container.name):
            made = api.create_container(
                container.image,
                list(container.command),
                name=container.name,
                labels=dict(labels),
                environment=dict(container.environment),
                user=USER,
                stop_timeout=container.stop_seconds,
                host_config=api.create_host_config(
                    mounts=[types.Mount(m.target, m.source, m.kind, read_only=m.read_only) for m in container.mounts],
                    read_only=True,
                    tmpfs={"/tmp": TMP},
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges:true"],
                    restart_policy={"Name": "unless-stopped"},
                    log_config=types.LogConfig(type="json-file", config=LOG_OPTIONS),
                    mem_limit=container.memory,
                    memswap_limit=container.memory,
                    nano_cpus=None if container.cores is None else int(container.cores * 1e9),
                    cpu_shares=container.shares,
                    init=container.init,
                    **placed,
                ),
                **options,
            )["Id"]
            try:
                api.start(made)
            except BaseException:
                api.remove_container(made, force=True)
                raise

    def start_again(self, name: str) -> None:
        """Start a container that was stopped.

        Raises:
            NetworkGone: the network that it was made on is not there.
        """
        import docker

        with self._said(name):
            try:
                self.client.api.start(name)
            except docker.errors.APIError as error:
                words = str(error.explanation or error)
                if "network" in words and "not found" in words:
                    raise NetworkGone("its network was removed", where=name) from error
                raise

    def join(self, name: str, network: str) -> None:
        """Put a container on a network."""
        with self._said(name):
            self.client.api.connect_container_to_network(name, network)

    def restart(self, name: str) -> None:
        """End a container's process at once, and start it again."""
        with self._said(name):
            self.client.api.restart(name, timeout=0)

    def stop(self, name: str, seconds: int) -> None:
        """End a container's process, and do not start it again; done already if it is gone."""
        with self._said(name), self._gone_is_fine():
            self.client.api.stop(name, timeout=seconds)

    def remove(self, name: str) -> None:
        """Remove a container; done already if it is gone."""
        with self._said(name), self._gone_is_fine():
            self.client.api.remove_container(name, force=True)

    def remove_volume(self, name: str) -> None:
        """Remove a volume; done already if it is gone."""
        with self._said(name), self._gone_is_fine():
            self.client.api.remove_volume(name, force=True)

    def remove_network(self, name: str) -> None:
        """Remove a network; done already if it is gone."""
        with self._said(name), self._gone_is_fine():
            self.client.api.remove_network(name)

    def volumes(self, fleet_name: str) -> list[str]:
        """The volumes of a fleet."""
        with self._said():
            found = self.client.api.volumes(filters={"label": f"{LABEL}.fleet={fleet_name}"})
        return [row["Name"] for row in found["Volumes"] or ()]

    def networks(self, fleet_name: str) -> list[str]:
        """The networks of a fleet."""
        with self._said():
            return [row["Name"] for row in self.client.api.networks(filters={"label": f"{LABEL}.fleet={fleet_name}"})]

    def files(self, name: str, path: str) -> dict[str, bytes]:
        """A file, or every file of a folder, of a container that runs or not: name -> content; empty if not there."""
        import docker

        with self._said(name):
            try:
                chunks, _ = self.client.api.get_archive(name, path)
            except docker.errors.NotFound:
                return {}
            archive = io.BytesIO(b"".join(chunks))
        found = {}
        with tarfile.open(fileobj=archive) as tar:
            for entry in tar:
                stream = tar.extractfile(entry) if entry.isfile() else None
                if stream is not None:
                    found[entry.name.rpartition("/")[2]] = stream.read()
        return found

    @contextmanager
    def opened(self, name: str, argv: Sequence[str], seconds: float | None = None) -> Iterator[Any]:
        """Run a command in a container, and talk with it through a socket; its input ends with the block.

        Args:
            name: the container.
            argv: the command.
            seconds: how long it, or the way to it, may say nothing when it is asked; None: any time.

        Raises:
            NotRunning: there is no such container, or it does not run.
        """
        import docker

        with self._said(name):
            try:
                made = self.client.api.exec_create(name, list(argv), stdin=True)["Id"]
                line = self.client.api.exec_start(made, socket=True)
            except docker.errors.APIError as error:
                if error.status_code in (404, 409):
                    raise NotRunning(f"container {name} does not run", hint="`tfsdeploy up` starts it") from error
                raise
        raw = getattr(line, "_sock", line)
        raw.settimeout(seconds)
        try:
            yield raw
        finally:
            # The engine ends the command's input when the connection closes, and all that holds it has to go.
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)
            for end in (getattr(line, "_response", line), line, raw):
                end.close()

    def log_lines(self, name: str, *, follow: bool, tail: int) -> Iterator[str]:
        """The last lines that a container printed, and new ones while ``follow``."""
        with self._said(name), self._gone_is_fine():
            if not follow:
                text = self.client.api.logs(name, tail=tail)
                yield from text.decode(errors="replace").splitlines()
                return
            rest = b""
            for chunk in self.client.api.logs(name, tail=tail, stream=True, follow=True):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")

    @contextmanager
    def _said(self, name: str = "") -> Iterator[None]:
        """Turn the SDK's failures into one line for the reader."""
        import docker
        import requests
        import urllib3

        # What is read as a stream comes from below `requests`, and a cut one may end inside a line.
        lost = (requests.RequestException, urllib3.exceptions.HTTPError, docker.errors.StreamParseError)
        try:
            yield
        except docker.errors.APIError as error:
            raise refused(str(error.explanation or error), name) from error
        except (docker.errors.DockerException, *lost) as error:
            ssh = self._way.words() if self._way is not None else ""
            raise unanswered(str(error), self.url, ssh) from error

    @contextmanager
    def _gone_is_fine(self) -> Iterator[None]:
        import docker

        with suppress(docker.errors.NotFound):
            yield


def _check_ours(what: str, found: Mapping[str, str] | None, labels: Mapping[str, str]) -> None:
    if any((found or {}).get(key) != value for key, value in labels.items()):
        raise TfsdeployError(f"the {what} is somebody else's", hint="give the fleet another name, or remove it")
