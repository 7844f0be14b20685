"""The local target: a fleet whose replicas and gateways are processes of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.report import Report
from tfsdeploy.targets.base import GatewayAddress, ReplicaAddress, Settings
from tfsdeploy.targets.local.daemon import end_everything, ensure_supervisor
from tfsdeploy.targets.local.execute import Executor
from tfsdeploy.targets.local.logs import Tail, logs_of
from tfsdeploy.targets.local.needed import check_needed
from tfsdeploy.targets.local.place import Places
from tfsdeploy.targets.local.shape import digest, shape
from tfsdeploy.targets.local.state import FleetFolder, home_folder, write
from tfsdeploy.targets.plan import Kind, Plan, Unit, Wanted, make_plan
from tfsdeploy.targets.settings import settings_of

FOLLOW_SECONDS = 0.1
"""How often followed logs are looked at."""

GRACE_SECONDS = 3.0
"""How long what is left over may take to end, once `down` has let the units leave."""


class LocalTarget:
    """One fleet on this machine; making one touches nothing.

    Args:
        fleet_name: the fleet.
        home: where the state of all fleets lives; see `home_folder`.
    """

    kind = "local"

    def __init__(self, fleet_name: str, home: Path | None = None) -> None:
        self.fleet = fleet_name
        self._folder = FleetFolder(home or home_folder(), fleet_name)

    @property
    def folder(self) -> Path:
        """The fleet's state folder."""
        return self._folder.path

    def where(self) -> str:
        """Nothing: it is here."""
        return ""

    def settings(self) -> Settings | None:
        """What `up` last applied; None if the fleet is not there."""
        return self._folder.settings()

    def releases(self) -> ReleaseFolder:
        """The fleet's release document."""
        return ReleaseFolder(self._folder.path)

    def pins(self) -> Pins | None:
        """The pins that were last handed to the fleet."""
        try:
            return Pins.from_json(json.loads(self._folder.pins.read_bytes()))
        except FileNotFoundError:
            return None
        except ValueError as error:
            hint = "`tfsdeploy up` writes them anew"
            raise TfsdeployError(
                f"the pins cannot be read: {error}", where=str(self._folder.pins), hint=hint
            ) from error

    def write_pins(self, pins: Pins) -> None:
        """Hand the fleet file's pins to the fleet."""
        write(self._folder.pins, json.dumps(pins.to_json()) + "\n")

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """The replicas that should be there, oldest first."""
        return self._folder.replicas()

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The gateways that should be there, oldest first."""
        return self._folder.gateways()

    def entrance(self) -> tuple[str, str] | None:
        """None: clients use each gateway's own ports."""
        return None

    def reached(self, replica: str, address: str) -> str:
        """The same: all is on this machine."""
        return address

    def troubles(self) -> tuple[str, ...]:
        """What is amiss with the place itself: without its supervisor a fleet serves on, and nothing is restarted."""
        if self.settings() is None or self._folder.observed() is not None:
            return ()
        return ("no supervisor runs, so what dies is not started again; `tfsdeploy up` starts it",)

    def changes(self, fleet: Fleet) -> tuple[str, ...]:
        """What `apply` would do, a line each with its reason."""
        self._check_owner(fleet)
        return tuple(str(step) for step in self._plan(fleet).steps)

    @contextmanager
    def exclusive(self, fleet: Fleet, report: Report) -> Iterator[None]:
        """Nobody else changes the shape of this fleet meanwhile.

        Raises:
            Busy: somebody else does.
            UsageError: the name belongs to another fleet file.
        """
        self._check_owner(fleet)
        self._folder.make()
        with closing(self._folder.exclusive()):
            try:
                yield
            finally:
                if self._folder.settings() is None:
                    # Nothing came of it.
                    self._folder.remove()

    def prepare(self, fleet: Fleet, report: Report) -> None:
        """Make the fleet's home and settings, so that a release can be written before the first replica starts.

        Raises:
            UsageError: the file names a model server that is not there.
            TfsdeployError: the embedded one is not installed, a gateway port is busy, or the folder cannot be written;
                nothing was started.
        """
        check_needed(fleet)
        self._folder.make()
        Places(self._folder, fleet).claim_gateway_ports()
        self._folder.write_settings(settings_of(fleet, self.kind, str(fleet.file)))

    def apply(self, fleet: Fleet, report: Report, *, timeout: float) -> None:
        """Make the shape as the fleet file says, one replica or gateway at a time.

        Raises:
            TfsdeployError: something did not become ready in time; what served before serves on.
        """
        places = Places(self._folder, fleet)
        places.forget_lost_units()
        plan = self._plan(fleet)
        ensure_supervisor(self._folder)
        Executor(self._folder, places.make, report, timeout).run(plan)

    def beside_gateways(self, args: Sequence[str], report: Report, *, seconds: float) -> None:
        """This machine is where they are."""
        return

    def logs(self, names: tuple[str, ...], *, follow: bool, tail: int) -> Iterator[str]:
        """The last ``tail`` lines of each log of the named units or processes, and new ones while ``follow``.

        Raises:
            UsageError: a name that has no log; says which have.
        """
        self._check_log_names(names)
        tails: dict[Path, Tail] = {}
        lines = tail
        while True:
            # What is gone is shown when it is named.
            for log in logs_of(self._folder.logs, names or (*self._folder.units(), "supervisor")):
                if log not in tails:
                    tails[log] = Tail(log, lines)
                for line in tails[log].lines():
                    yield f"{tails[log].name}: {line}"
            if not follow or not self._folder.path.exists():
                return
            # A log that appears later is new from its first line on.
            lines = 1 << 30
            time.sleep(FOLLOW_SECONDS)

    def remove(self, report: Report, *, timeout: float) -> None:
        """End every process and remove everything but the store; done already if nothing is there.

        Args:
            report: hears what ends.
            timeout: seconds that requests on their way may hold this up.

        Raises:
            Busy: an `up` of this fleet is at work.
        """
        if not self._folder.path.exists():
            return
        self._folder.make()
        with closing(self._folder.exclusive()):
            self._let_leave(report, timeout)
            end_everything(self._folder, grace=GRACE_SECONDS)
            self._folder.remove()

    def _let_leave(self, report: Report, timeout: float) -> None:
        """The gateways end what is on its way, then the replicas end: nobody asks them any more."""
        if self._folder.observed() is None:
            return
        executor = Executor(self._folder, lambda *_: None, report, timeout)
        units = self._folder.units().values()
        try:
            executor.see_off([unit.name for unit in units if unit.kind == "gateway"], "drain", timeout)
            executor.see_off([unit.name for unit in units if unit.kind == "replica"], "now", timeout)
        except TfsdeployError as error:
            report.warn(f"{error.message}; it is ended without waiting")

    def _plan(self, fleet: Fleet) -> Plan:
        there = [
            Unit(unit.name, unit.kind, unit.ordinal, unit.digest, unit.shape, leaving=unit.leaving is not None)
            for unit in self._folder.units().values()
        ]
        wanted = [_wanted(fleet, "replica", fleet.serving.replicas), _wanted(fleet, "gateway", fleet.gateway.replicas)]
        used = self._folder.numbers("ordinals")
        return make_plan(
            fleet.name,
            wanted,
            there,
            used={"replica": used.get("replica", 0), "gateway": used.get("gateway", 0)},
            supervised=self._folder.observed() is not None,
        )

    def _check_owner(self, fleet: Fleet) -> None:
        settings = self._folder.settings()
        if settings is not None and settings.file != str(fleet.file):
            raise UsageError(
                f"the fleet name {fleet.name} belongs to another file: {settings.file}",
                where=str(fleet.file),
                hint=f"give this fleet another name, or end the other one: tfsdeploy down --fleet {fleet.name}",
            )

    def _check_log_names(self, names: tuple[str, ...]) -> None:
        for name in names:
            if not logs_of(self._folder.logs, (name,)):
                known = ", ".join(sorted({log.name.split(".")[0] for log in self._folder.logs.glob("*.log")}))
                raise UsageError(
                    f"there is no log of {name!r}", hint=f"there are: {known}" if known else "run `up` first"
                )


def _wanted(fleet: Fleet, kind: Kind, count: int) -> Wanted:
    lines = shape(fleet, kind)
    return Wanted(kind, count, digest(lines), lines)
