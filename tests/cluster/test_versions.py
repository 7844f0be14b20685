"""Agents of the version before and of this one work together, whichever of them is rolled first."""

from __future__ import annotations

import pytest

from tests.cluster.live import ClusterFleet, M
from tests.cluster.product import AGENT_IMAGE, BEFORE_IMAGE, image_before

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.parametrize("first", ["serving", "gateway"])
def test_roll_from_the_version_before(fleet: ClusterFleet, first: str) -> None:
    """Both parts are old, then one of them is new, then both: promote and rollback work at every step."""
    fleet.namespace.cluster.load_image(image_before(), print)
    second = "gateway" if first == "serving" else "serving"
    with fleet.stream({M: {1}}) as requests:
        for component, image in ((first, BEFORE_IMAGE), (second, BEFORE_IMAGE), (first, None), (second, None)):
            roll(fleet, component, image or AGENT_IMAGE)
            requests.now({M: {1, 2}})
            fleet.run("promote", M, "2", "--yes")
            requests.now({M: {2}})
            fleet.namespace.wait("the switch", lambda: fleet.effective(M, {2: 100}))
            requests.now({M: {1, 2}})
            fleet.run("rollback", M)
            requests.now({M: {1}})
    requests.check()
    assert fleet.run("diff").out.startswith("fleet shop is as")


def roll(fleet: ClusterFleet, component: str, image: str) -> None:
    """Give one part's agents another image, in the name of `up`, and wait until every pod has it."""
    name = f"shop-{component}"
    fleet.run("render", "-o", "rendered")
    file = fleet.folder / "rendered" / f"{component}-deployment.yaml"
    file.write_text(file.read_text().replace(AGENT_IMAGE, image))
    words = ("--server-side", "--field-manager=tfsdeploy", "--force-conflicts")
    fleet.namespace.kubectl("apply", *words, "-f", str(file))
    fleet.namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=240s")
    fleet.healthy()
    pods = fleet.pod_objects(component)
    assert {row["image"] for pod in pods for row in pod["spec"]["initContainers"]} == {image}
