"""One caller with very many rows of A at once: `python -m benchmarks.loads.many_rows_process ENDPOINT ROWS`.

For each line it calls `RemoteModel.predict` once with all of them, and answers with rows per second.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import predictd
from benchmarks.workloads import A


def main(endpoint: str, count: str) -> None:
    """Predict whenever told to."""
    model = predictd.RemoteModel(A.name, endpoint=endpoint)
    row = A.row()
    rows = np.resize(row, (int(count), *row.shape[1:]))
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        model.predict(rows, verbose=0)
        took, used = time.perf_counter() - started, time.process_time() - used
        print(json.dumps({"rows_per_s": len(rows) / took, "cpu_us": used * 1e6 / len(rows)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
