"""One file of A's rows: `python -m benchmarks.loads.scoring_process ENDPOINT ROWS DIRECTORY`.

For each line it either scores the file (`score`; `celery` through the workers of PREDICTD_BROKER_URL), or asks for the
same chunks by `RemoteModel.predict` with the rows in memory and the answers thrown away: one after the other
(`predict`), or as many side by side, in threads, as a run has under way (`beside`). It answers with rows per second.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import predictd
from benchmarks.workloads import A
from predictd_celery import score
from predictd_celery.application import app
from predictd_celery.scoring.run import DEFAULT_WINDOW


def main(endpoint: str, count: str, directory: str) -> None:
    """Score or predict whenever told to."""
    path, out = Path(directory, "rows.npy"), Path(directory, "scored")
    row = A.row()
    rows = np.resize(row, (int(count), *row.shape[1:]))
    np.save(path, rows)
    model, client = predictd.RemoteModel(A.name, endpoint=endpoint), predictd.Client(endpoint)
    pool = ThreadPoolExecutor(DEFAULT_WINDOW)

    def chunks(chunk_rows: int) -> list[NDArray[np.float32]]:
        return [rows[first : first + chunk_rows] for first in range(0, len(rows), chunk_rows)]

    ways: dict[str, Callable[[int], object]] = {
        "score": lambda size: score(A.name, path, out, client=client, chunk_rows=size, progress=0),
        "celery": lambda size: score(A.name, path, out, app=app, chunk_rows=size, progress=0),
        "predict": lambda size: [model.predict(chunk, verbose=0) for chunk in chunks(size)],
        "beside": lambda size: list(pool.map(lambda chunk: model.predict(chunk, verbose=0), chunks(size))),
    }
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        shutil.rmtree(out, ignore_errors=True)
        started, used = time.perf_counter(), time.process_time()
        ways[asked["way"]](asked["chunk_rows"])
        took, used = time.perf_counter() - started, time.process_time() - used
        print(json.dumps({"rows_per_s": len(rows) / took, "cpu_us": used * 1e6 / len(rows)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
