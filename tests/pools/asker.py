"""What a user's program does, in whatever process it runs: a client made at import, asked from then on.

Owns the client, the questions and the count of how often others in this process got their turn meanwhile. It is loaded
by every program of the matrix: a Celery worker, a web server, a script. Any thread, greenlet or coroutine.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import predictd

#: The row that stands for "ask the model that takes a second".
SLEEP = -1
SLEEPER_INPUT = np.array([101.0], np.float32)
TICK_S = 0.005

#: A restart of the daemon takes its time, and what comes meanwhile waits for it: both limits hold.
client = predictd.Client(timeout_ms=90_000, connect_timeout_ms=90_000)
#: Touched whenever something is about to be asked: the driver stops the daemon, and waits for that to kill it.
_ASKED = os.environ.get("POOLS_ASKED")
model = predictd.RemoteModel("mlp", client=client)

with np.load(os.environ["POOLS_ROWS"]) as _saved:
    ROWS = _saved["x"]

if os.environ.get("USE_IN_PARENT"):
    client.predict("mlp", ROWS[:1])
    model.predict(ROWS[:1], verbose=0)


class Ticker:
    """Counts the turns that somebody else in this process got while a request was in flight.

    Attributes:
        pid: The process.
        in_flight: Requests in flight now.
        ticks: Turns so far.
        largest_gap_s: The longest that the other one had to wait for its turn.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.in_flight = 0
        self.ticks = 0
        self.largest_gap_s = 0.0
        self._last_s = time.monotonic()

    def tick(self) -> None:
        """Note a turn."""
        now_s = time.monotonic()
        if self.in_flight:
            self.ticks += 1
            self.largest_gap_s = max(self.largest_gap_s, now_s - self._last_s)
        self._last_s = now_s

    def run(self) -> None:
        """Take a turn every few milliseconds; a greenlet's where threads are patched."""
        while True:
            time.sleep(TICK_S)
            self.tick()

    def __enter__(self) -> int:
        self.in_flight += 1
        if _ASKED:
            Path(_ASKED).touch()
        return self.ticks

    def __exit__(self, *exception: object) -> None:
        self.in_flight -= 1


_tickers: dict[int, Ticker] = {}


def ticker() -> Ticker:
    """Return this process's ticker; a thread of its own makes it tick."""
    pid = os.getpid()
    if pid not in _tickers:
        mine = Ticker(pid)
        if _tickers.setdefault(pid, mine) is mine:
            threading.Thread(target=mine.run, daemon=True).start()
    return _tickers[pid]


def ask(row: int) -> dict[str, Any]:
    """Return what the model says about a row, and how this process fared meanwhile."""
    mine = ticker()
    with mine as before:
        if row == SLEEP:
            scores = client.predict("sleeper", SLEEPER_INPUT).outputs
        elif row % 2:
            scores = model.predict(ROWS[[row]], verbose=0)[0]
        else:
            scores = client.predict("mlp", ROWS[[row]]).outputs[0]
    return answer(row, scores, mine, before)


def answer(row: int, scores: np.ndarray, mine: Ticker, before: int) -> dict[str, Any]:
    """Return an answer as it travels back to the driver."""
    return {
        "row": row,
        "scores": scores.tolist(),
        "pid": mine.pid,
        "ticks": mine.ticks,
        "ticks_meanwhile": mine.ticks - before,
        "largest_gap_s": mine.largest_gap_s,
    }
