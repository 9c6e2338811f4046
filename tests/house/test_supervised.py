"""Each program of supervisord.conf is killed; the whole path serves again by itself."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.daemon_process import short_directory
from tests.house.supervised import Supervised

pytestmark = [
    pytest.mark.integration,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def supervised(models: Path) -> Iterator[Supervised]:
    with short_directory() as folder:
        programs = Supervised(Path(folder), models / "mlp.keras")
        yield programs
        programs.stop()


@pytest.mark.parametrize("program", ["worker", "predictd", "broker"])
def test_the_path_serves_again_after_a_kill(
    supervised: Supervised, digits: tuple[np.ndarray, np.ndarray], program: str
) -> None:
    x, expected = digits[0][:3], digits[1][:3]
    np.testing.assert_allclose(supervised.answer(x), expected, rtol=1e-4, atol=1e-6)
    pid = supervised.pid(program)
    children = psutil.Process(pid).children(recursive=True)

    os.kill(pid, signal.SIGKILL)

    np.testing.assert_allclose(supervised.answer(x), expected, rtol=1e-4, atol=1e-6)
    assert supervised.pid(program) != pid
    _, orphans = psutil.wait_procs(children, timeout=60)
    assert not orphans, f"still there without their parent: {orphans}"


def test_its_files_are_its_users_alone(supervised: Supervised) -> None:
    supervised.pid("worker")
    assert stat.S_IMODE((supervised.folder / "run").stat().st_mode) == 0o700
