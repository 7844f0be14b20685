"""What only Kubernetes reads of a fleet file: where pods may run, and what is written on them."""

from __future__ import annotations

import re

from tfsdeploy.fleet.addresses import OBJECT_NAME_PATTERN, SECRET_NAME_PATTERN
from tfsdeploy.fleet.kinds import REQUIRED, Choice, Key, Listed, Named, Section, Text
from tfsdeploy.fleet.model import Toleration
from tfsdeploy.names import NAMESPACE as NAMESPACE_NAME

KUBERNETES = ("kubernetes",)

# apimachinery/pkg/util/validation: a qualified name, and what a label may hold.
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_QUALIFIED = rf"(?:(?=[^/]{{1,253}}/){_DNS_LABEL}(?:\.{_DNS_LABEL})*/)?{_WORD}"
# Whatever UTF-8 and a reader can take; line breaks too.
_ANY_TEXT = r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]{0,8192}"

OURS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component",
        "app.kubernetes.io/managed-by", "kubectl.kubernetes.io/default-container", "pod-template-hash")  # fmt: skip
_OURS_BELOW = ("tfsdeploy/", "deployment.kubernetes.io/")
"""What tfsdeploy writes, and what Kubernetes writes on a Deployment and its pods."""

_OURS_PATTERN = "^(?:(?:{})$|{})".format(*("|".join(names).replace(".", r"\.") for names in (OURS, _OURS_BELOW)))


def _complain_about_ours(key: str) -> str | None:
    if key in OURS or key.startswith(_OURS_BELOW):
        return f"{key[:80]} is written by tfsdeploy or Kubernetes; choose another name"
    return None


def _complain_about_secret(name: str) -> str | None:
    if re.fullmatch(SECRET_NAME_PATTERN, name) is None:
        # What stands here may be the secret itself, so it is not repeated.
        return "not the name of a Secret (a-z, 0-9, - and .)"
    return None


SECRET = Text("the name of a Secret", SECRET_NAME_PATTERN, _complain_about_secret)
NAMESPACE = Text("the name of a namespace: a-z, 0-9 and -, at most 63", NAMESPACE_NAME.pattern.removesuffix(r"\Z"))
_CLASS = Text("the name of a PriorityClass", OBJECT_NAME_PATTERN)
_NODE_KEY = Text("a node label's key such as example.org/pool", _QUALIFIED)
_TAINT = Text("a taint's key such as nvidia.com/gpu", _QUALIFIED)
_LABEL = Text("a label's key such as example.org/team", _QUALIFIED, _complain_about_ours, _OURS_PATTERN)
_ANNOTATION = Text("an annotation's key such as example.org/owner", _QUALIFIED, _complain_about_ours, _OURS_PATTERN)
_LABEL_VALUE = Text("at most 63 of A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends", rf"(?:{_WORD})?")
_VALUE = Text("text of at most 8192 characters", _ANY_TEXT)

TOLERATION = Section(
    (
        Key("key", _TAINT, "the taint's key", REQUIRED, "nvidia.com/gpu"),
        Key("value", _LABEL_VALUE, "the taint's value", example="present", default_says="any"),
        Key(
            "effect",
            Choice(("NoSchedule", "PreferNoSchedule", "NoExecute")),
            "the taint's effect",
            example="NoSchedule",
            default_says="any",
        ),
    ),
    Toleration,
)


ANNOTATIONS = Named(_ANNOTATION, _VALUE)


def pod_keys(pods: str) -> tuple[Key, ...]:
    """The keys that replicas and gateways share.

    Args:
        pods: whose pods they are, for the reference page.
    """
    return (
        Key("priorityClass", _CLASS, f"the PriorityClass of {pods}", example="business-critical", read_by=KUBERNETES),
        Key(
            "nodeSelector",
            Named(_NODE_KEY, _LABEL_VALUE),
            f"labels that a node must have to run {pods}",
            {},
            read_by=KUBERNETES,
        ),
        Key("tolerations", Listed(TOLERATION), f"taints of nodes that {pods} put up with", (), read_by=KUBERNETES),
        Key("labels", Named(_LABEL, _LABEL_VALUE), f"more labels of {pods}", {}, read_by=KUBERNETES),
        Key("annotations", ANNOTATIONS, f"more annotations of {pods}", {}, read_by=KUBERNETES),
    )
