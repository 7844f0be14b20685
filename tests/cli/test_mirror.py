"""`mirror` reaches the other store in every way in which a fleet file can say how its own is reached."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.saved_models import write_saved_model
from tests.fault_proxy import fault_proxy
from tests.gcs import Gcs
from tests.s3 import DOMAIN, PUBLIC, S3

TLS = Path(__file__).parents[1] / "cases" / "server" / "tls"
FLEET = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: file://./models\nmodels: {ranker: {}}\n"


@pytest.fixture(autouse=True)
def version(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    write_saved_model(tmp_path / "one", 1)
    assert run("push", "ranker", "one").code == 0


def test_an_endpoint_with_a_private_authority(s3: S3, s3_bucket: str, run: Run) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
    with fault_proxy(s3.endpoint, context) as private:
        words = ("mirror", s3_bucket, "--endpoint", private.endpoint)
        assert "the CA file cannot be read" in run(*words, "--ca-file", "nowhere.pem").err
        assert run(*words, "--ca-file", str(TLS / "ca.crt")).code == 0
    assert s3.open(s3_bucket).stat("ranker/1/saved_model.pb") is not None


def test_a_bucket_in_the_host_name(s3: S3, s3_bucket: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with fault_proxy(s3.endpoint) as proxy, monkeypatch.context() as environment:
        environment.setenv("HTTP_PROXY", proxy.endpoint)
        assert run("mirror", s3_bucket, "--endpoint", f"http://{DOMAIN}", "--no-path-style").code == 0
    assert s3.open(s3_bucket).stat("ranker/1/saved_model.pb") is not None


def test_nobody_in_particular(s3: S3, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("mirror", f"{s3.make_bucket(PUBLIC)}/mirror", "--endpoint", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    assert "does not know the access key" in run(*words).err
    assert run(*words, "--anonymous").code == 0


def test_a_store_without_conditional_writes(gcs: Gcs, run: Run) -> None:
    gcs.deaf = True
    words = ("mirror", f"{gcs.make_bucket('models')}/prod", "--endpoint", str(gcs.options["endpoint"]))
    assert "ignores the conditions of writes" in run(*words).err
    assert run(*words, "--no-conditional-writes").code == 0


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("file:///nowhere", ("--anonymous",)),
        ("gs://models", ("--region", "eu-central-1")),
        ("az://models", ("--no-path-style",)),
    ],
)
def test_what_means_nothing_there_is_refused(to: str, words: tuple[str, ...], run: Run) -> None:
    shown = run("mirror", to, *words)
    assert (shown.code, "is not for this store" in shown.err) == (2, True)
