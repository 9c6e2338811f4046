"""The progress bar beside Keras' own: byte for byte on a terminal, in its last line in a pipe."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd.rows.progress import ProgressBar
from tests.daemon_process import clean_environment

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(400)]

#: Ten batches, slow enough to be drawn one by one. Argument 1 is a model file or an endpoint, 2 `verbose`, 3 the steps.
PROGRAM = """
import sys, time
import numpy as np
def batches():
    for _ in range(10):
        time.sleep(0.06)
        yield (np.ones((3, 8), "float32"),)
where, verbose, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None
if where.startswith("ipc://"):
    import predictd
    model = predictd.RemoteModel("mlp", endpoint=where)
else:
    import keras
    model = keras.saving.load_model(where)
model.predict(batches(), verbose=verbose, steps=steps)
"""


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def of_keras(total: int | None, verbose: int, pauses_s: list[float]) -> str:
    """What Keras' own bar writes for steps that take so long."""
    from keras.src.callbacks.progbar_logger import ProgbarLogger
    from keras.src.utils import progbar

    clock, screen = Clock(), Terminal()
    clock.now_s = 1e6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progbar, "time", clock)
        patch.setattr(sys, "stdout", screen)
        logger = ProgbarLogger()
        logger.set_params({"verbose": verbose, "epochs": 1, "steps": total})
        logger.on_predict_begin()
        for step, pause_s in enumerate(pauses_s):
            clock.now_s += pause_s
            logger.on_predict_batch_end(step)
        logger.on_predict_end()
    return screen.getvalue()


def of_predictd(total: int | None, verbose: int, pauses_s: list[float]) -> str:
    clock, screen = Clock(), Terminal()
    clock.now_s = 1e6
    bar = ProgressBar(total, verbose, stream=screen, clock=clock.time)
    for step, pause_s in enumerate(pauses_s):
        clock.now_s += pause_s
        bar.reach(step + 1)
    bar.close()
    return screen.getvalue()


@settings(deadline=None, max_examples=100)
@given(
    pauses_s=st.lists(
        st.sampled_from([0.0, 0.0001, 0.01, 0.049, 0.07, 0.5, 1.0, 7.0, 100.0, 4000.0]), min_size=1, max_size=30
    ),
    verbose=st.sampled_from([0, 1, 2, 3]),
    is_known=st.booleans(),
)
def test_a_terminal_gets_the_bytes_that_keras_writes(pauses_s: list[float], verbose: int, is_known: bool) -> None:
    total = len(pauses_s) if is_known else None
    assert of_predictd(total, verbose, pauses_s) == of_keras(total, verbose, pauses_s)


def on_terminal(*arguments: str) -> str:
    """Run the program on a pseudo-terminal and return what it wrote there."""
    leader, follower = os.openpty()
    try:
        running = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=subprocess.PIPE,
            env=clean_environment(TF_CPP_MIN_LOG_LEVEL="3", TERM="xterm"),
        )
    finally:
        os.close(follower)
    written = b""
    try:
        while True:
            try:
                part = os.read(leader, 1 << 16)
            except OSError:  # the other side is closed
                break
            written += part
    finally:
        os.close(leader)
        _, complaint = running.communicate(timeout=60)
    assert running.returncode == 0, complaint.decode()
    return written.decode()


def in_pipe(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments],
        capture_output=True,
        check=True,
        timeout=110,
        env=clean_environment(TF_CPP_MIN_LOG_LEVEL="3"),
    )
    return ran.stdout.decode()


def timeless(written: str) -> str:
    return re.sub(r"\d+(s|ms|us)\b", "_", written)


def drawings(written: str) -> dict[str, str]:
    """Each drawing by its count, with durations left out."""
    found = {}
    for line in re.split(r"\x08*\r", written.replace("\r\n", "\n")):
        count = re.search(r"\d+/(\d+|Unknown)", line)
        if count:
            # Shorter numbers than before are followed by blanks, which wipe out the rest of those.
            found[count[0]] = re.sub(r" +(?=\n|$)", "", timeless(line))
    return found


def test_a_real_terminal_shows_what_keras_shows(parity_files: Path, parity_daemon) -> None:
    keras = drawings(on_terminal(str(parity_files / "mlp.keras"), "1", "10"))
    ours = drawings(on_terminal(parity_daemon.endpoint, "1", "10"))
    last = "10/10"
    assert keras[last].endswith("\n")
    shared = keras.keys() & ours.keys()
    assert last in shared
    assert len(shared) >= 3
    for count in shared:
        assert ours[count] == keras[count]


def test_a_pipe_gets_the_last_line_without_colours(parity_files: Path, parity_daemon) -> None:
    keras = in_pipe(str(parity_files / "mlp.keras"), "1", "10")
    ours = in_pipe(parity_daemon.endpoint, "1", "10")
    last = re.sub(r"\x1b\[\d+m", "", re.split(r"\x08*\r", keras)[-1])
    assert timeless(ours) == timeless(last).rstrip() + "\n"


def test_one_line_at_the_end_is_the_same_everywhere(parity_daemon) -> None:
    assert timeless(in_pipe(parity_daemon.endpoint, "2", "10")) == "10/10 - _ - _/step\n"
    assert timeless(on_terminal(parity_daemon.endpoint, "2", "0")) == "10/10 - _ - _/step\r\n"
