"""Which permissions the API server's own words grant, and which have to be asked for one by one."""

from __future__ import annotations

from typing import Any

import pytest

from tfsdeploy.targets.kubernetes.kinds import POD, kind_named
from tfsdeploy.targets.kubernetes.permissions import Permission, is_granted, needed

PATCH_DEPLOYMENTS = Permission("patch", kind_named("Deployment"))
CREATE_CONFIG_MAPS = Permission("create", kind_named("ConfigMap"))
FORWARD = Permission("create", POD, "portforward")
VOLUME = Permission("get", kind_named("PersistentVolume"))


def rule(verbs: str, groups: str, resources: str, **more: Any) -> dict[str, Any]:
    """A ResourceRule; words are separated by commas."""
    return {
        "verbs": verbs.split(","),
        "apiGroups": groups.split(","),
        "resources": resources.split(","),
        **more,
    }


@pytest.mark.parametrize(
    ("wanted", "said", "granted"),
    [
        (PATCH_DEPLOYMENTS, rule("*", "*", "*"), True),
        (PATCH_DEPLOYMENTS, rule("get,patch", "apps", "deployments"), True),
        (PATCH_DEPLOYMENTS, rule("get,list", "apps", "deployments"), False),
        (PATCH_DEPLOYMENTS, rule("patch", "", "deployments"), False),
        (PATCH_DEPLOYMENTS, rule("patch", "apps", "statefulsets"), False),
        (PATCH_DEPLOYMENTS, rule("patch", "apps", "deployments/scale"), False),
        (CREATE_CONFIG_MAPS, rule("create", "", "configmaps"), True),
        (CREATE_CONFIG_MAPS, rule("create", "", "configmaps", resourceNames=["a"]), False),
        (CREATE_CONFIG_MAPS, {"verbs": ["create"]}, False),
        (FORWARD, rule("create", "", "pods"), False),
        (FORWARD, rule("create", "", "pods/portforward"), True),
        (FORWARD, rule("create", "", "*/portforward"), True),
        (FORWARD, rule("create", "", "*"), True),
        # The rules are those of a namespace; what lives in none is asked for itself.
        (VOLUME, rule("*", "*", "*"), False),
    ],
)
def test_one_rule(wanted: Permission, said: dict[str, Any], granted: bool) -> None:
    """One rule grants a permission, or not; rules beside it change nothing."""
    assert is_granted(wanted, [said]) is granted
    assert is_granted(wanted, [rule("watch", "", "secrets"), said]) is granted


def test_words() -> None:
    """A missing permission is named as Roles name it."""
    rules = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["watch"]}]
    manifests = [{"kind": "Deployment"}, {"kind": "ConfigMap"}, {"kind": "Role", "rules": rules}]
    said = {str(permission) for permission in needed(manifests)}
    assert {"patch deployments.apps", "update configmaps", "create pods/portforward", "list pods"} <= said
    # Nobody may grant what he has not.
    assert {"get pods/log", "create roles.rbac.authorization.k8s.io", "watch endpointslices.discovery.k8s.io"} <= said
    assert {"update leases.coordination.k8s.io", "list events"} <= said
    assert {"get pods/portforward", "get pods"} <= said
    assert not {"patch leases.coordination.k8s.io", "list leases.coordination.k8s.io"} & said
    assert not any(words.startswith("delete pods") for words in said)
