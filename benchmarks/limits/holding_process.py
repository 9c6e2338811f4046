"""A script that holds a model as scripts do: `python -m benchmarks.limits.holding_process FILE NAME`.

It loads the file and predicts what the daemon is asked for as well, as often (`ask_as_often`): as many rows as that
takes at once, and one. Then it waits: its memory is what the daemon's is compared with.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import WORKLOADS, Workload

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Rows of a call, and how many such calls: what either side keeps of them is part of its memory.
ROWS = (64, 1)
CALLS = 20


def questions(workload: Workload) -> Iterator[NDArray[Any]]:
    """Yield what either side is asked before its memory is read."""
    for rows in ROWS:
        for _ in range(CALLS):
            yield np.repeat(workload.row(), rows, axis=0)


def ask_as_often(endpoint: str, workload: Workload) -> None:
    """Ask a daemon for what the script predicts."""
    # Not above: a script has no client in its memory.
    import predictd

    with predictd.Client(endpoint) as client:
        for rows in questions(workload):
            client.predict(workload.name, rows)


def main(path: str, name: str) -> None:
    """Load, predict, and wait for the end of standard input."""
    import keras

    model = keras.saving.load_model(path)
    for rows in questions(WORKLOADS[name]):
        model.predict(rows, verbose=0)
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
