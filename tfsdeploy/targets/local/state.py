"""The state folder of a local fleet: where everything is, and how it is read and written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.files import replace_file
from tfsdeploy.names import is_fleet_name
from tfsdeploy.processes import boot_id, is_alive
from tfsdeploy.targets.base import GatewayAddress, ReplicaAddress, Settings
from tfsdeploy.targets.local.units import Observed, UnitSpec, observed_from_text, unit_from_text, unit_to_text
from tfsdeploy.targets.plan import Kind
from tfsdeploy.targets.settings import settings_from_text, settings_to_text

OLD_LOGS = 20
"""How many log files of replicas and gateways that are gone are kept: about ten of these."""


def home_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the state of all local fleets lives: ``$TFSDEPLOY_HOME``, or in the XDG state folder."""
    if home := environment.get("TFSDEPLOY_HOME"):
        return Path(home).absolute()
    state = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state).absolute() / "tfsdeploy"


def fleet_names(home: Path) -> list[str]:
    """The fleets that live under a home folder."""
    return sorted(file.parent.name for file in home.glob("fleets/*/settings.json"))


class FleetFolder:
    """One fleet's state folder; making one touches nothing.

    Args:
        home: see `home_folder`.
        fleet_name: the fleet.

    Raises:
        UsageError: what is no fleet's name is no folder's name either: ``..`` would lead elsewhere.
    """

    def __init__(self, home: Path, fleet_name: str) -> None:
        if not is_fleet_name(fleet_name):
            raise UsageError(
                f"{fleet_name!r} is not a fleet name", hint="lower-case letters, digits and -, at most 40 characters"
            )
        self.home = home
        self.fleet_name = fleet_name
        self.path = home.resolve() / "fleets" / fleet_name
        self.supervisor = self.path / "supervisor"
        self.logs = self.path / "logs"
        self.release = self.path / "release.json"
        self.pins = self.path / "pins.json"
        self.verified = self.path / "verified.json"

    def unit(self, kind: Kind, name: str) -> Path:
        """The folder of one replica or gateway, with its ``endpoint.json``."""
        return self.path / f"{kind}s" / name

    def make(self) -> None:
        """Make the folders; only their owner can read them."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in ("replicas", "gateways", "logs", "supervisor/units"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(error, self.path) from error

    def remove(self) -> None:
        """Remove everything of this fleet, and what is empty above it."""
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in (self.path.parent, self.home):
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.EBUSY):
                    raise _refused(error, folder) from error

    def exclusive(self) -> TextIOWrapper:
        """Become the only one who changes this fleet's shape, until the result is closed.

        Raises:
            Busy: somebody else is at it.
        """
        lock = open(self.path / "apply.lock", "a+")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = lock.read().strip() or "another process"
            lock.close()
            raise Busy(
                f"the shape of fleet {self.fleet_name} is being changed by {who}", hint="run this again when it is done"
            ) from None
        if os.fstat(lock.fileno()).st_nlink == 0:
            lock.close()
            raise Busy(f"fleet {self.fleet_name} was removed at this moment", hint="run this again")
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        return lock

    def settings(self) -> Settings | None:
        """What `up` last applied; None if the fleet is not there."""
        file = self.path / "settings.json"
        text = _read(file)
        try:
            settings = None if text is None else settings_from_text(text)
        except ValueError as error:
            hint = "remove the file and run `tfsdeploy up`, which writes it anew; what runs goes on meanwhile"
            raise TfsdeployError(f"not what `up` has written: {error}", where=str(file), hint=hint) from error
        if settings is not None and settings.fleet != self.fleet_name:
            # A copied folder names the other fleet's processes: nothing may be ended, or told of it, as its own.
            raise TfsdeployError(
                f"this is the state of fleet {settings.fleet}, in the folder of fleet {self.fleet_name}",
                where=str(file),
                hint=f"remove the folder if it is a copy; --fleet {settings.fleet} names that fleet itself",
            )
        return settings

    def write_settings(self, settings: Settings) -> None:
        """Remember what is applied."""
        write(self.path / "settings.json", settings_to_text(settings))

    def numbers(self, name: str) -> dict[str, int]:
        """Numbers that are kept while the fleet lives, such as ``ordinals`` or ``ports``; empty before the first."""
        text = _read(self.supervisor / f"{name}.json")
        try:
            return {} if text is None else {str(key): int(value) for key, value in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            # Without them a new replica may get a number or port that was used before, and nothing else.
            return {}

    def write_numbers(self, name: str, numbers: Mapping[str, int]) -> None:
        """Keep numbers."""
        write(self.supervisor / f"{name}.json", json.dumps(numbers) + "\n")

    def units(self) -> dict[str, UnitSpec]:
        """The units that should be there or are leaving, by name, in the order in which they were made."""
        found: list[UnitSpec] = []
        for file in (self.supervisor / "units").glob("*.json"):
            try:
                found.append(unit_from_text(file.read_bytes()))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unreadable(error, file) from error
            except ValueError as error:
                raise TfsdeployError(
                    str(error), where=str(file), hint="remove the file, and run `tfsdeploy up`"
                ) from error
        return {unit.name: unit for unit in sorted(found, key=lambda unit: (unit.kind, unit.ordinal))}

    def write_unit(self, unit: UnitSpec) -> None:
        """Hand a unit to the supervisor."""
        try:
            replace_file(self.supervisor / "units" / f"{unit.name}.json", unit_to_text(unit), lasting=False)
        except OSError as error:
            raise _refused(error, self.supervisor) from error

    def forget_unit(self, unit: UnitSpec) -> None:
        """Remove everything of a unit that is gone, but its logs: those of the last few that went are kept."""
        shutil.rmtree(self.unit(unit.kind, unit.name), ignore_errors=True)
        (self.supervisor / "units" / f"{unit.name}.json").unlink(missing_ok=True)
        there = {*self.units(), "supervisor"}
        old = [log for log in self.logs.iterdir() if log.name.split(".")[0] not in there]
        for log in sorted(old, key=lambda log: log.stat().st_mtime)[:-OLD_LOGS]:
            log.unlink()

    def observed(self) -> Observed | None:
        """What the supervisor tells; None if none runs, such as after a reboot."""
        text = _read(self.supervisor / "observed.json")
        try:
            observed = None if text is None else observed_from_text(text)
        except ValueError:
            return None
        if observed is None or observed.boot != boot_id() or not is_alive(observed.supervisor):
            return None
        return observed

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """The replicas' addresses, oldest first."""
        rows = (row for unit in self.units().values() if (row := self._endpoint(unit, "replica")) is not None)
        return tuple(ReplicaAddress(row["replica"], row["status"]) for row in rows)

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The gateways' addresses, oldest first."""
        rows = (row for unit in self.units().values() if (row := self._endpoint(unit, "gateway")) is not None)
        return tuple(GatewayAddress(row["gateway"], row["status"], row["rest"], row["grpc"]) for row in rows)

    def write_endpoint(self, kind: Kind, name: str, endpoint: Mapping[str, str]) -> None:
        """Let agents and commands find a unit."""
        folder = self.unit(kind, name)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "endpoint.json", json.dumps({kind: name, **endpoint}) + "\n")

    def _endpoint(self, unit: UnitSpec, kind: Kind) -> dict[str, str] | None:
        if unit.kind != kind or unit.leaving is not None:
            return None
        file = self.unit(kind, unit.name) / "endpoint.json"
        text = _read(file)
        try:
            row = None if text is None else json.loads(text)
            keys = (kind, "status") if kind == "replica" else (kind, "status", "rest", "grpc")
            return None if row is None else {key: str(row[key]) for key in keys}
        except (ValueError, TypeError, KeyError) as error:
            hint = "run `tfsdeploy up`: it replaces what does not answer"
            raise TfsdeployError("not what `up` has written", where=str(file), hint=hint) from error


def write(file: Path, text: str) -> None:
    """Replace a file, whole and on disk.

    Raises:
        TfsdeployError: the disk is full or refuses.
    """
    try:
        replace_file(file, text)
    except OSError as error:
        raise _refused(error, file) from error


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(error, file) from error


def _unreadable(error: OSError | UnicodeDecodeError, file: Path) -> TfsdeployError:
    reason = error.strerror if isinstance(error, OSError) else "it is not text"
    hint = "TFSDEPLOY_HOME names the folder of all fleets; it belongs to the user who ran `up`"
    return TfsdeployError(f"the fleet's state cannot be read: {reason}", where=str(file), hint=hint)


def _refused(error: OSError, place_: Path) -> TfsdeployError:
    return TfsdeployError(
        f"the fleet's state cannot be written: {error.strerror}",
        where=str(error.filename or place_),
        hint="TFSDEPLOY_HOME names another folder for it",
    )
