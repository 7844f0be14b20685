"""A plan carried out under a real supervisor, with agents that only say whether they are ready."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.targets.local.conftest import Bench, eventually
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.processes import is_alive
from tfsdeploy.report import Silent
from tfsdeploy.targets.local.execute import Executor
from tfsdeploy.targets.local.ports import free_ports
from tfsdeploy.targets.local.state import FleetFolder
from tfsdeploy.targets.local.units import ProcessSpec, UnitSpec
from tfsdeploy.targets.plan import Kind, Plan, Remove, Replace, Start, Supervise

AGENT = """
import http.server, json, os, signal, sys
name, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def journal(word):
    with open(os.path.join(folder, "journal"), "a") as stream:
        stream.write(f"{name} {word}\\n")
def leave(*_):
    journal("leaves")
    os._exit(0)
class Status(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = os.path.exists(os.path.join(folder, name + ".ready"))
        body = json.dumps({"replica": name, "generation": 0, "ready": ready, "rest": "", "grpc": "", "models": {
            "m": {"7": {"state": "AVAILABLE" if ready else "LOADING"}}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
signal.signal(signal.SIGTERM, leave)
server = http.server.HTTPServer(("127.0.0.1", port), Status)
journal("is up")
server.serve_forever()
"""


class Heard(Silent):
    """Remembers what was waited for."""

    def __init__(self) -> None:
        self.waits: list[str] = []

    def waiting(self, text: str) -> None:
        self.waits.append(text)


class Site:
    """A supervised fleet folder whose replicas are ready when their file is there."""

    def __init__(self, bench: Bench, home: Path) -> None:
        self.folder = FleetFolder(home, "shop")
        self.folder.make()
        bench.folder = self.folder.path
        bench.start()
        self.heard = Heard()

    def make(self, kind: Kind, name: str, ordinal: int) -> None:
        (port,) = free_ports(1, ())
        path = str(self.folder.path)
        argv = (sys.executable, "-I", "-c", AGENT, name, str(port), path)
        process = ProcessSpec("agent", argv, {}, path, f"{path}/logs/{name}.agent.log")
        self.folder.unit(kind, name).mkdir(parents=True)
        self.folder.write_unit(UnitSpec(name, kind, ordinal, "d", (), {"agent": port}, (process,)))

    def run(self, *steps: Start | Replace | Remove, timeout: float = 60) -> None:
        Executor(self.folder, self.make, self.heard, timeout).run(Plan(steps))

    def ready(self, *names: str) -> None:
        for name in names:
            (self.folder.path / f"{name}.ready").touch()

    def journal(self) -> list[str]:
        return (self.folder.path / "journal").read_text().splitlines()


@pytest.fixture
def site(bench: Bench, tmp_path: Path) -> Site:
    return Site(bench, tmp_path / "home")


def test_starts_happen_at_once_and_are_waited_for(site: Site) -> None:
    site.ready("a", "b")
    site.run(Start("replica", "a", 1, "wanted"), Start("replica", "b", 2, "wanted"))
    assert sorted(site.journal()) == ["a is up", "b is up"]


def test_the_new_one_is_in_use_before_the_old_one_leaves(site: Site, bench: Bench) -> None:
    site.ready("a", "b")
    site.run(Start("replica", "a", 1, "wanted"))
    old = bench.running("agent", "a")
    site.run(Replace("replica", "b", 2, "a", "changed"))
    assert site.journal() == ["a is up", "b is up", "a leaves"]
    assert not is_alive(old)
    assert list(site.folder.units()) == ["b"]
    assert not site.folder.unit("replica", "a").exists()


def test_an_old_one_stays_when_the_new_one_does_not_become_ready(site: Site, bench: Bench) -> None:
    site.ready("a")
    site.run(Start("replica", "a", 1, "wanted"))
    with pytest.raises(TfsdeployError, match="not done within 10 s: b: m 7 is LOADING"):
        site.run(Replace("replica", "b", 2, "a", "changed"), timeout=10)
    assert is_alive(bench.running("agent", "a"))
    assert "b: m 7 is LOADING" in site.heard.waits
    site.ready("b")
    site.run(Remove("replica", "a", "goes on where it stopped"))
    assert list(site.folder.units()) == ["b"]


def test_a_supervisor_that_was_started_anew_is_waited_for_with_all_that_it_keeps(site: Site) -> None:
    site.ready("a")
    site.run(Start("replica", "a", 1, "wanted"))
    (site.folder.path / "a.ready").unlink()
    with pytest.raises(TfsdeployError, match="a: m 7 is LOADING"):
        Executor(site.folder, site.make, site.heard, 10).run(Plan((Supervise("shop", "it does not run"),)))


def test_why_an_agent_does_not_answer_is_told(site: Site) -> None:
    def make_broken(kind: Kind, name: str, ordinal: int) -> None:
        path = str(site.folder.path)
        argv = (sys.executable, "-I", "-c", "raise SystemExit(3)")
        process = ProcessSpec("agent", argv, {}, path, f"{path}/logs/{name}.agent.log")
        site.folder.write_unit(UnitSpec(name, kind, ordinal, "d", (), {"agent": free_ports(1, ())[0]}, (process,)))

    with pytest.raises(TfsdeployError, match=r"its agent ended \(exit 3\)"):
        Executor(site.folder, make_broken, site.heard, 10).run(Plan((Start("replica", "a", 1, "wanted"),)))


def test_a_supervisor_that_ends_meanwhile_is_told(site: Site, bench: Bench) -> None:
    site.ready("a")
    site.run(Start("replica", "a", 1, "wanted"))
    bench.kill()
    eventually(lambda: site.folder.observed() is None, "no supervisor")
    with pytest.raises(TfsdeployError, match="supervisor ended meanwhile"):
        site.run(Remove("replica", "a", "too many"))
    bench.start()
    site.run(Remove("replica", "a", "too many"))
    assert site.journal()[-1] == "a leaves"
