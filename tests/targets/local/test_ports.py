"""Ports: free ones, and who has a busy one."""

from __future__ import annotations

import os
import socket

from tfsdeploy.targets.local.ports import FIRST, LAST, free_ports, holder, is_free


def test_free_ports_are_free_and_nobody_elses() -> None:
    ports = free_ports(3, range(FIRST, FIRST + 11_000))
    assert len(set(ports)) == 3
    assert all(FIRST + 11_000 <= port < LAST and is_free(port) for port in ports)


def test_a_port_that_somebody_listens_on_is_told_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        found = holder(port)
        assert found is not None
        assert found.pid == os.getpid()
    assert is_free(port)
    assert holder(port) is None
