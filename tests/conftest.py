"""What holds for every suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.azure import Azure, azure_server, works
from tests.fuse import works as can_mount
from tests.gcs import Gcs, gcs_server
from tests.nfs.server import NfsServer, nfs_server
from tests.s3 import KEY, S3, SECRET, s3_server
from tests.s3_outage import MortalS3, mortal_s3

_NUMBERS = count(1)

# How long an example takes, or the making of one, says more of the machine than of the code.
settings.register_profile("tfsdeploy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tfsdeploy")

# A shell starts background jobs with SIGINT ignored, and so would every command be that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server; tests take buckets of their own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a prefix in a bucket that is the test's alone; the credentials are in the environment."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"{s3.make_bucket(f'models-{next(_NUMBERS)}')}/prod"


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """Azure's emulator; tests take containers of their own."""
    if not works():
        pytest.skip("Azure's emulator needs Node.js and npm")
    with azure_server(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture
def gcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    """A stand-in for GCS, which the test may change; the credentials are in the environment, and no others."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GCE_"))]:
        monkeypatch.delenv(name)
    # Where `gcloud` keeps those of whoever runs the tests.
    monkeypatch.setenv("HOME", str(tmp_path))
    with gcs_server(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def own_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MortalS3]:
    """An S3 server that the test may end and harm; the credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with mortal_s3(tmp_path / "s3") as server:
        yield server


@pytest.fixture
def nfs(tmp_path: Path) -> Iterator[NfsServer]:
    """A real NFS server, which the test may end and harm."""
    if not can_mount():
        pytest.skip("only root can mount, and only where there is /dev/fuse")
    with nfs_server(tmp_path / "nfs") as server:
        yield server


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a failure where continuous integration runs: everything it needs, the project installs."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
