"""What `up` must be allowed to do, and what of it the user may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tfsdeploy.targets.kubernetes.kinds import EVENT, KINDS, LEASE, POD, Kind, kind_named, kind_of
from tfsdeploy.targets.kubernetes.objects import Manifest, Objects

_OBJECT_VERBS = ("get", "list", "create", "patch", "delete")
_LEASE_VERBS = ("get", "create", "update", "delete")

Rule = Mapping[str, Any]
"""A ResourceRule of a SelfSubjectRulesReview."""


@dataclass(frozen=True, slots=True)
class Permission:
    """A verb on the objects of a kind, or on a part of them such as ``portforward``."""

    verb: str
    kind: Kind
    part: str = ""

    @property
    def resource(self) -> str:
        """As Roles name it."""
        return f"{self.kind.plural}/{self.part}" if self.part else self.kind.plural

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.kind.group else ''}{self.kind.group}"


def needed(manifests: Sequence[Manifest]) -> list[Permission]:
    """What it takes to apply a fleet's objects, to take its Lease, to write its release, and to look at its pods."""
    objects = sorted({*map(kind_of, manifests)}, key=lambda kind: kind.plural)
    return [
        *(Permission(verb, kind) for kind in objects for verb in _OBJECT_VERBS),
        *(Permission("list", kind) for kind in KINDS if not kind.rare and kind not in objects),
        *(Permission(verb, LEASE) for verb in _LEASE_VERBS),
        Permission("update", kind_named("ConfigMap")),
        Permission("list", EVENT),
        *(Permission(verb, POD) for verb in ("get", "list")),
        Permission("get", POD, "log"),
        # A websocket is opened by a GET; from 1.35 on that takes `create` as well (kubernetes/enhancements, KEP-4006).
        *(Permission(verb, POD, "portforward") for verb in ("get", "create")),
        *sorted(set(_handed_on(manifests)), key=str),
    ]


def _handed_on(manifests: Sequence[Manifest]) -> Iterator[Permission]:
    """What the Roles grant: nobody may grant what he has not (kubernetes.io, "Privilege escalation prevention")."""
    for manifest in manifests:
        for rule in manifest["rules"] if manifest["kind"] == "Role" else ():
            for group, plural, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
                yield Permission(verb, Kind("", f"apis/{group}/v1" if group else "api/v1", plural))


def is_granted(permission: Permission, rules: Sequence[Rule]) -> bool:
    """Whether rules of the namespace grant a permission for objects of every name (k8s.io/api/rbac/v1, PolicyRule)."""
    kind, part = permission.kind, permission.part
    resources = {permission.resource, "*", *([f"*/{part}"] if part else [])}
    return kind.namespaced and any(
        not rule.get("resourceNames")
        and not {permission.verb, "*"}.isdisjoint(rule["verbs"])
        and not {kind.group, "*"}.isdisjoint(rule.get("apiGroups", ()))
        and not resources.isdisjoint(rule.get("resources", ()))
        for rule in rules
    )


def missing(objects: Objects, wanted: Sequence[Permission]) -> list[Permission]:
    """Those that the user does not have.

    One answer tells the rules of most users. What they do not grant is asked for one by one: clouds' own authorizers
    are not obliged to tell their rules.
    """
    rules = objects.rules()
    return [
        permission
        for permission in wanted
        if not is_granted(permission, rules) and not objects.may(permission.verb, permission.kind, permission.part)
    ]
