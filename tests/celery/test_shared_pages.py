"""A collection in a child leaves alone what the worker's parent has imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A process of its own: what is frozen stays so.
PROGRAM = """
import gc, os, sys
import psutil
import predictd_celery.tasks
from celery.signals import celeryd_after_setup
from predictd_celery.application import app

class Worker:
    soft_time_limit = time_limit = None

before = gc.get_freeze_count()
if sys.argv[1] == "worker":
    celeryd_after_setup.send(sender="worker", instance=Worker(), conf=app.conf)
child = os.fork()
if not child:
    gc.collect()
    print(gc.get_freeze_count() - before, psutil.Process().memory_full_info().uss, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def child_of(kind: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    frozen, uss_bytes = map(int, done.stdout.split())
    return frozen, uss_bytes


@pytest.mark.integration
def test_a_worker_s_children_share_what_it_has_imported() -> None:
    frozen, shared_bytes = child_of("worker")
    never, own_bytes = child_of("script")
    assert frozen > 10_000
    assert never == 0
    assert shared_bytes < own_bytes / 2
