"""The logs of pods, all containers together, each line with where it comes from."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.release.configmap import Away
from tfsdeploy.targets.kubernetes.connection import Denied, NotThere
from tfsdeploy.targets.kubernetes.kinds import POD
from tfsdeploy.targets.kubernetes.objects import Objects

AGAIN_SECONDS = 0.5


def lines_of(objects: Objects, pods: Sequence[str], *, follow: bool, tail: int) -> Iterator[str]:
    """The last lines of every container, and new ones while ``follow``.

    Args:
        objects: of the namespace.
        pods: their names.
        follow: go on until every container has ended.
        tail: lines of each container.
    """
    ways = [(pod, container) for pod in pods for container in _containers(objects, pod)]
    if not follow:
        for pod, container in ways:
            for line in objects.log(pod, container, tail=tail).splitlines():
                yield f"{pod}.{container}: {line}"
        return
    # A connection that waits for lines holds up nobody else's.
    lines: queue.SimpleQueue[str | TfsdeployError | None] = queue.SimpleQueue()
    for pod, container in ways:
        threading.Thread(target=_follow, args=(objects, pod, container, tail, lines.put), daemon=True).start()
    ended = 0
    while ended < len(ways):
        said = lines.get()
        if said is None:
            ended += 1
        elif isinstance(said, TfsdeployError):
            raise said
        else:
            yield said


def _follow(
    objects: Objects, pod: str, container: str, tail: int, say: Callable[[str | TfsdeployError | None], None]
) -> None:
    """Hand on each line of a container until it has ended, also when a connection ends before it."""
    last = ""
    try:
        while True:
            try:
                for at, line in objects.follow_log(pod, container, tail=tail, after=last):
                    last = at
                    say(f"{pod}.{container}: {line}")
            except (Away, Denied):
                raise
            except (OSError, TfsdeployError):
                pass  # a connection that broke, or a container that has not begun: it is seen below
            if _has_ended(objects, pod, container):
                break
            time.sleep(AGAIN_SECONDS)
    except NotThere:
        pass  # the pod is gone, and with it what it had to say
    except TfsdeployError as error:
        say(error)
    finally:
        say(None)


def _has_ended(objects: Objects, pod: str, container: str) -> bool:
    status = (objects.get(POD, pod) or {}).get("status", {})
    rows = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    states = [row["state"] for row in rows if row["name"] == container]
    return not states or "terminated" in states[0]


def _containers(objects: Objects, pod: str) -> list[str]:
    found = objects.get(POD, pod)
    if found is None:
        return []
    spec = found["spec"]
    return [container["name"] for container in (*spec.get("initContainers", ()), *spec["containers"])]
