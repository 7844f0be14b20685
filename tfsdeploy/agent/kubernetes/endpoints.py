"""Agents as EndpointSlices name them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SERVICE_LABEL = "kubernetes.io/service-name"
GROUP, RESOURCE = "apis/discovery.k8s.io/v1", "endpointslices"
PORT = "agent"


def agents(slices: Iterable[Mapping[str, Any]], *, leaving: bool = True) -> dict[str, str]:
    """The agents behind a headless Service: pod name -> base URL of its status server.

    Ready or not: what an agent says itself decides. A pod that is in several slices, as while one is moved between
    them or with two address families, is reached by its IPv4 address.

    Args:
        slices: as the API server has them.
        leaving: those of pods on their way out too.
    """
    found: dict[str, str] = {}
    for one in sorted(slices, key=lambda one: one.get("addressType") != "IPv4"):
        port = next((port.get("port") for port in one.get("ports") or () if port.get("name") == PORT), None)
        if port is None or one.get("addressType") not in ("IPv4", "IPv6"):
            continue
        for endpoint in one.get("endpoints") or ():
            target, addresses = endpoint.get("targetRef") or {}, endpoint.get("addresses") or ()
            if (endpoint.get("conditions") or {}).get("terminating") and not leaving:
                continue
            if target.get("kind") == "Pod" and target.get("name") and addresses:
                found.setdefault(target["name"], f"http://{bracketed(addresses[0])}:{port}")
    return dict(sorted(found.items()))


def bracketed(host: str) -> str:
    """A host as it stands before ``:port``."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
