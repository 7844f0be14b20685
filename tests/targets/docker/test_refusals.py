"""What the words of the engine and of Envoy are turned into, for who has to do something about it."""

from __future__ import annotations

import pytest

from tfsdeploy.targets.docker.refusals import busy_port, no_image, refused, unanswered


@pytest.mark.parametrize(
    ("said", "message", "way_out"),
    [
        ("Bind for 0.0.0.0:8501 failed: port is already allocated", "the port 0.0.0.0:8501 is in use", "gateway.rest"),
        ("listen tcp4 0.0.0.0:8501: bind: address already in use", "the port 0.0.0.0:8501 is in use", "gateway.rest"),
        ("cannot bind '10.0.0.1:8501': Address already in use", "the port 10.0.0.1:8501 is in use", "gateway.rest"),
        ("cannot bind '0.0.0.0:80': Permission denied", "only root may listen at 0.0.0.0:80 of the host", "bridge"),
        ("write /x: no space left on device", "the engine's disk is full", "docker system df"),
        ("The name is already in use by container 1f", "a container of this name is there already", "rename it"),
        ("bind source path does not exist: /m", "the store's folder is not on the engine's machine: /m", "`store`"),
        ("something new", "the Docker engine refuses: warning something new", ""),
    ],
)
def test_words(said: str, message: str, way_out: str) -> None:
    found = refused(f"warning {said}", "shop-gateway-1-envoy")
    assert (found.message, found.where) == (message, "shop-gateway-1-envoy")
    assert way_out in found.hint


def test_other_words_are_no_matter_of_ports() -> None:
    assert busy_port("no space left on device", "shop-gateway-1-envoy") is None


@pytest.mark.parametrize(
    ("image", "way_out"),
    [
        ("tfsdeploy/agent:0.1.0", "`tfsdeploy image build` makes it"),
        ("registry.example:5000/team/tfsdeploy/model-server:1", "`tfsdeploy image build` makes it"),
        ("tensorflow/serving:2.20.0", "`docker load` it"),
    ],
)
def test_an_image_that_nobody_has(image: str, way_out: str) -> None:
    found = no_image(image, "pull access denied\nfor more information …")
    assert found.message == f"the image {image} is not there and cannot be pulled: pull access denied"
    assert found.hint.startswith(way_out)


def test_an_image_that_nobody_has_for_no_reason() -> None:
    assert no_image("a/b:1", "").message == "the image a/b:1 is not there and cannot be pulled: no reason given"


def test_an_image_for_which_there_is_no_room() -> None:
    found = no_image("a/b:1", "failed to register layer: write /lib/x.so: no space left on device")
    assert (found.message, found.where) == ("the engine's disk is full", "a/b:1")
    assert "docker system df" in found.hint


POOL = "Error while fetching server API version: HTTPSConnectionPool(host='h', port=2376): Max retries (Caused by "


@pytest.mark.parametrize(
    ("said", "why", "way_out"),
    [
        ("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))", "No such file or directory",
         "start it"),
        (f"{POOL}NewConnectionError('failed: [Errno 111] Connection refused'))", "[Errno 111] Connection refused",
         "start it"),
        (f"{POOL}SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate "
         "(_ssl.c:1016)'))", "its certificate is not trusted: self-signed certificate", "ca.pem"),
        (f"{POOL}SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, "
         "certificate is not valid for '10.0.0.1'. (_ssl.c:1016)'))",
         "its certificate is not trusted: IP address mismatch, certificate is not valid for '10.0.0.1'", "ca.pem"),
        (f"{POOL}SSLError(1, '[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)'))",
         "it does not trust the certificate of this command", "cert.pem"),
        ("Path to a certificate and key files must be provided through the client_cert param.",
         "what DOCKER_CERT_PATH names has no certificates", "ca.pem"),
        (f"{POOL}SSLError(136, '[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate'))",
         "what DOCKER_CERT_PATH names has no certificates", "ca.pem"),
        ('400 Client Error: Bad Request ("Client sent an HTTP request to an HTTPS server.")',
         "HTTP request to an HTTPS server", "DOCKER_TLS_VERIFY=1"),
        ("('Connection aborted.', RemoteDisconnected('Remote end closed connection'))", "it broke off in the middle",
         "start it"),
        (f"{POOL}NameResolutionError(\"HTTPConnection(host='h', port=2376): Failed to resolve 'h'\"))",
         "no address is known for h", "DOCKER_HOST"),
        ("HTTPConnectionPool(host='h', port=2375): Read timed out. (read timeout=60)", "nothing came within 60 s",
         "start it"),
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", "Permission denied", "its group"),
        ("('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", "Connection reset by peer",
         "DOCKER_TLS_VERIFY=1"),
        (f"{POOL}SSLError(SSLEOFError(8, 'EOF occurred (_ssl.c:2427)')))", "it ended the connection while TLS began",
         "cert.pem"),
    ],
)  # fmt: skip
def test_an_engine_that_does_not_answer(said: str, why: str, way_out: str) -> None:
    found = unanswered(said, "tcp://h:2376")
    assert (found.message, found.where) == (f"the Docker engine does not answer: {why}", "tcp://h:2376")
    assert way_out in found.hint


@pytest.mark.parametrize("said", ["u@h: Permission denied (publickey).", "ssh: connect to host h: Connection refused"])
def test_what_ssh_says_is_left_as_it_is(said: str) -> None:
    found = unanswered(
        "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", "ssh://h", said
    )
    assert found.message == f"the Docker engine does not answer: {said}"


@pytest.mark.parametrize("said", ["Invalid bind address format: tcp://", "fd protocol is not implemented"])
def test_an_address_that_is_none(said: str) -> None:
    found = unanswered(said, "nonsense")
    assert found.message == f"DOCKER_HOST makes no sense: {said}"
    assert "tcp://HOST:PORT" in found.hint
