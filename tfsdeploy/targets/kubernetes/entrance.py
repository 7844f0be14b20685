"""Where clients find the gateways: the addresses of their Service. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def addresses_of(service: Mapping[str, Any], *, speaks_tls: bool) -> tuple[str, str]:
    """REST and gRPC address of a Service.

    Args:
        service: as the API server has it.
        speaks_tls: its ports show a certificate.
    """
    metadata, spec = service["metadata"], service["spec"]
    balanced: Sequence[Mapping[str, str]] = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ({},)
    host = balanced[0].get("hostname") or balanced[0].get("ip") or f"{metadata['name']}.{metadata['namespace']}"
    host = f"[{host}]" if ":" in host else host
    ports = {port["name"]: port["port"] for port in spec["ports"]}
    return f"{'https' if speaks_tls else 'http'}://{host}:{ports['rest']}", f"{host}:{ports['grpc']}"
