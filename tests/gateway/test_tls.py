"""A gateway with a certificate: TLS on both ports, and a renewed certificate without a restart."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from pathlib import Path

import grpc

from tests.gateway.harness import PREDICTION, Stub, call, gateway, wait
from tests.gateway.wire import request
from tests.ports import free_ports
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import ModelTable, Table

PEM = Path(__file__).parents[1] / "cases" / "server" / "tls"


def secret(folder: Path, generation: str, name: str) -> None:
    """Do what the volume of a Secret does: a new folder, and a link that is replaced."""
    made = folder / generation
    made.mkdir(parents=True)
    shutil.copy(PEM / f"{name}.crt", made / "tls.crt")
    shutil.copy(PEM / f"{name}.key", made / "tls.key")
    (folder / "..new").symlink_to(generation)
    os.replace(folder / "..new", folder / "..data")
    for file in ("tls.crt", "tls.key"):
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")


def shown(port: int, protocol: str) -> tuple[str, str | None]:
    """The certificate that a port shows, and the protocol that it agrees to."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain, context.wrap_socket(plain) as secured:
        found = secured.getpeercert(binary_form=True)
        assert found is not None
        return ssl.DER_cert_to_PEM_cert(found), secured.selected_alpn_protocol()


def certificate(name: str) -> str:
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert((PEM / f"{name}.crt").read_text()))


def test_both_ports_speak_tls_and_take_up_a_renewed_certificate(tmp_path: Path, backends: tuple[Stub, Stub]) -> None:
    secret(tmp_path / "tls", "..1", "server")
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port, tls=str(tmp_path / "tls"))
    table = Table({"m": ModelTable({7: 100}, {}, {7: (backends[0].endpoint,)})})
    with gateway(tmp_path / "gateway", table, shape):
        assert shown(rest_port, "http/1.1") == (certificate("server"), "http/1.1")
        assert shown(grpc_port, "h2") == (certificate("server"), "h2")
        trusting = grpc.ssl_channel_credentials((PEM / "ca.crt").read_bytes())
        with grpc.secure_channel(f"localhost:{grpc_port}", trusting) as channel:
            code, answer = call(channel, PREDICTION + "Predict", request("m"))
        assert (code, answer["version"]) == ("OK", 7)
        with socket.create_connection(("127.0.0.1", rest_port), timeout=30) as plain:
            plain.sendall(b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/"), "who is inside needs no certificate (a port-forward)"
        secret(tmp_path / "tls", "..2", "client")
        wait("the renewed certificate", lambda: shown(rest_port, "http/1.1")[0] == certificate("client"))
        wait("the renewed certificate", lambda: shown(grpc_port, "h2")[0] == certificate("client"))
