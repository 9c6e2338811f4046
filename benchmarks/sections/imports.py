"""Section imports: what `import predictd` costs, against the two packages that it can't do without."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, median
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run

#: Prints the seconds from before the import to after it, so that the interpreter's own start is left out.
_PROGRAM = "import time; start = time.perf_counter(); import {modules}; print(time.perf_counter() - start)"


def imports(run: Run) -> Found:
    """What `import predictd` costs."""
    floor, ours = [], []
    for _ in run.numbers():
        for _ in range(run.imports_a_round):
            floor.append(import_ms("numpy, zmq"))
            ours.append(import_ms("predictd"))
    figure = Figure(
        "import predictd / import numpy, zmq",
        ratios(tuple(ours), tuple(floor)),
        goal="<= 1.5",
        beside=f"predictd {median(ours):.0f} ms, numpy and zmq {median(floor):.0f} ms",
    )
    return Found([figure])


def import_ms(modules: str) -> float:
    """Return how long a fresh interpreter takes to import some modules from their compiled files, in milliseconds."""
    _compile_once(modules)
    return _import_ms(modules)


@functools.cache
def _compile_once(modules: str) -> None:
    """An installed package is compiled by its installer, a checkout by its first import."""
    _import_ms(modules)


def _import_ms(modules: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _PROGRAM.format(modules=modules)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout) * 1000
