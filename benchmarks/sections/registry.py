"""All sections by name: `make bench` runs them in this order, `make bench ARGS="A idle"` some of them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report.found import Found
from benchmarks.sections.client import client
from benchmarks.sections.idle import idle
from benchmarks.sections.imports import imports
from benchmarks.sections.many_rows import f
from benchmarks.sections.memory import memory
from benchmarks.sections.mixture import g
from benchmarks.sections.reload import reload
from benchmarks.sections.scoring import scoring
from benchmarks.sections.stage import Run
from benchmarks.sections.through_celery import celery
from benchmarks.sections.workload import a, b, c, d, e

Section = Callable[[Run], Found]

SECTIONS: dict[str, Section] = {
    "A": a,
    "B": b,
    "C": c,
    "D": d,
    "E": e,
    "F": f,
    "G": g,
    "celery": celery,
    "scoring": scoring,
    "idle": idle,
    "memory": memory,
    "client": client,
    "imports": imports,
    "reload": reload,
}


def title(name: str) -> str:
    """Return what a section measures, in a sentence."""
    return (SECTIONS[name].__doc__ or "").splitlines()[0].rstrip(".")
