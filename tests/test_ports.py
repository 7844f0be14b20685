"""Ports that tests give to servers."""

from __future__ import annotations

import socket
import subprocess
import sys

from tests.ports import BLOCK, FIRST, LAST, free_ports


def test_two_processes_are_never_given_the_same_port() -> None:
    mine = free_ports(BLOCK // 2)
    code = f"from tests.ports import free_ports; print(*free_ports({BLOCK // 2}))"
    others = {
        int(port)
        for _ in range(3)
        for port in subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.split()
    }
    assert others.isdisjoint(mine)
    assert all(FIRST <= port < LAST for port in [*mine, *others])


def test_a_port_is_given_again_only_when_all_others_were() -> None:
    count = BLOCK // 4
    assert set(free_ports(count)).isdisjoint(free_ports(count))


def test_a_port_that_somebody_has_is_given_to_nobody() -> None:
    with socket.socket() as server:
        (port,) = free_ports(1)
        server.bind(("127.0.0.1", port))
        # Once round; others are those of servers that run as long as all tests do.
        for _ in range(4):
            assert port not in free_ports(BLOCK // 4)
