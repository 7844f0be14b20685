"""How fast fleets are rendered for Kubernetes: hundreds of files in one call, how that grows, and what Helm takes.

Helm's chart makes as many objects of the same size, by ranging over as many names: it gets the simplest templates there
can be, which decide nothing and check nothing.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figure import Figure
from tests.chart.helm import helm

FLEETS = int(os.environ.get("TFSDEPLOY_BENCH_FLEETS", "400"))
OBJECTS, MEMORY_MIB, MORE = 6000, 300, 2.5
TURNS = 3
"""Of each the best is taken, in turns, so that what else the machine does meets both."""

FLEET = """\
apiVersion: tfsdeploy/v1
kind: Fleet
name: fleet-{number}
store: pvc://models/fleet-{number}
serving: {{replicas: 3, resources: {{cpu: 2, memory: 4Gi}}, batching: {{}}}}
models:
  ranker: {{version: {number}, labels: {{stable: {number}}}}}
  search: {{}}
"""


def figures() -> list[Figure]:
    """Seconds, memory and growth of one call."""
    program = helm()
    with tempfile.TemporaryDirectory() as home:
        half = min(_rendered(Path(home) / f"half-{turn}", FLEETS // 2)[0] for turn in range(TURNS))
        peer, made = math.inf, 0
        seconds, memory, objects = math.inf, 0.0, 0
        for turn in range(TURNS):
            took, used, objects = _rendered(Path(home) / f"all-{turn}", FLEETS)
            seconds, memory = min(seconds, took), max(memory, used)
            took, made = _helm_template(program, Path(home) / f"chart-{turn}", Path(home) / f"all-{turn}" / "out")
            peer = min(peer, took)
    what = f"render of {FLEETS} fleet files in one call"
    reached = objects >= OBJECTS * FLEETS / 400
    return [
        Figure(what, f"{OBJECTS:,} objects", f"{objects:,} objects in {seconds:.2f} s", reached),
        Figure(f"{what}, against `helm template` of {made:,}", "x 1", f"x {seconds / peer:.2f}", seconds <= peer),
        Figure(f"{what}, RSS", f"{MEMORY_MIB} MiB", f"{memory:.0f} MiB", memory <= MEMORY_MIB),
        Figure(f"{what}, against half as many", f"x {MORE}", f"x {seconds / half:.2f}", seconds / half <= MORE),
    ]


def _rendered(folder: Path, count: int) -> tuple[float, float, int]:
    """Seconds, MiB and objects of one call that renders ``count`` fleets into an empty folder."""
    folder.mkdir()
    files = [folder / f"{number}.yaml" for number in range(1, count + 1)]
    for number, file in enumerate(files, start=1):
        file.write_text(FLEET.format(number=number))
    out = folder / "out"
    argv = [sys.executable, "-m", "tfsdeploy", "render", "-t", "kubernetes", "-o", str(out), *map(str, files)]
    begun = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"render ended with {process.returncode}")
    objects = sum(file.name != "kustomization.yaml" for file in out.rglob("*.yaml"))
    return seconds, usage.ru_maxrss / 1024, objects


def _helm_template(program: Path, chart: Path, rendered: Path) -> tuple[float, int]:
    """Seconds and objects of a call of Helm with what one fleet became, once for each fleet."""
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: peer\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text(f"fleets: [{', '.join(f'fleet-{n}' for n in range(1, FLEETS + 1))}]\n")
    one = next(folder for folder in rendered.glob("*/*") if folder.is_dir())
    for file in one.glob("*.yaml"):
        if file.name != "kustomization.yaml":
            text = file.read_text().replace("{{", "{{ `{{` }}").replace(one.name, "{{ $name }}")
            wrapped = "{{- range $name := .Values.fleets }}\n---\n" + text + "{{- end }}\n"
            (chart / "templates" / file.name).write_text(wrapped)
    begun = time.perf_counter()
    made = subprocess.run([program, "template", "peer", chart], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - begun, made.count("\napiVersion: ")
