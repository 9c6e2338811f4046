"""A script that holds a model as scripts do: `python -m benchmarks.limits.holding_process FILE NAME`.

It loads the file and predicts what the daemon is asked for as well, as often: as many rows as that takes at once, and
one. Then it waits: its memory is what the daemon's is compared with.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Rows of a call, and how many such calls: what either side keeps of them is part of its memory.
ROWS = (64, 1)
CALLS = 20


def main(path: str, name: str) -> None:
    """Load, predict, and wait for the end of standard input."""
    import keras
    import numpy as np

    from benchmarks.workloads import WORKLOADS

    model = keras.saving.load_model(path)
    row = WORKLOADS[name].row()
    for rows in ROWS:
        for _ in range(CALLS):
            model.predict(np.repeat(row, rows, axis=0), verbose=0)
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
