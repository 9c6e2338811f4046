"""Bulk runs through workers: `python -m benchmarks.scale_out.run_process DIRECTORY`, settings by the environment.

For each line it scores the file that is named, and answers how many chunks there were and what processor time it took.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from predictd_celery import app, score


def main(directory: str) -> None:
    """Score whenever told to."""
    out = Path(directory, "scored")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        shutil.rmtree(out, ignore_errors=True)
        used, began = time.process_time(), time.perf_counter()
        words = {"chunk_rows": asked["chunk_rows"], "shared_folder": asked["is_shared"], "progress": 0, "window": 8}
        report = score(asked["model"], asked["path"], out, app=app, **words)
        took, used = time.perf_counter() - began, time.process_time() - used
        print(json.dumps({"chunks": report.chunks, "cpu_s": used, "took_s": took}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
