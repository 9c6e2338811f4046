"""Files to score in tests, in every format, and their rows back out of the outputs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from predictd.testing import FakeModel

WIDTH = 3


def doubled(x: NDArray) -> NDArray:
    """What the model says; a function with a name, which other processes import."""
    return x * 2


def slowly_doubled(x: NDArray) -> NDArray:
    """The same, in a time in which something else can happen."""
    time.sleep(SLOW_S)
    return x * 2


def doubled_and_then_stuck(x: NDArray) -> NDArray:
    """The same of the first rows; then it says so and hangs."""
    if x[0, 0] > 1:
        Path(os.environ[STUCK]).touch()
        time.sleep(STUCK_S)
    return x * 2


SLOW_S = 0.05
STUCK_S = 240.0
#: Names a file that is there once it hangs.
STUCK = "TESTS_STUCK"
_INPUTS, _OUTPUTS = {"x": ("float32", (None, WIDTH))}, {"y": ("float32", (None, WIDTH))}
DOUBLE = FakeModel("double", inputs=_INPUTS, outputs=_OUTPUTS, answer=doubled)
SLOW = FakeModel("slow", inputs=_INPUTS, outputs=_OUTPUTS, answer=slowly_doubled)
#: Of images.
MEANS = FakeModel(
    "means",
    inputs={"image": ("float32", (None, 4, 5, 3))},
    outputs={"mean": ("float32", (None, 3))},
    answer=lambda x: x.mean(axis=(1, 2)),
)
HANGING = FakeModel("stuck", inputs=_INPUTS, outputs=_OUTPUTS, answer=doubled_and_then_stuck)


def table(rows: int) -> NDArray[np.float32]:
    """Rows that are all different, with numbers that lose digits easily."""
    return (np.arange(rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH) + np.float32(0.1)) / np.float32(3)


def write_npy(path: Path, array: NDArray) -> None:
    np.save(path, array)


def write_npz(path: Path, array: NDArray) -> None:
    np.savez_compressed(path, x=array)


def write_csv(path: Path, array: NDArray) -> None:
    lines = ["a,b,c", *(",".join(row) for row in array.astype(str))]
    path.write_text("\n".join(lines) + "\n")


def write_jsonl(path: Path, array: NDArray) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in array.tolist()))


def write_parquet(path: Path, array: NDArray) -> None:
    columns = pa.table({name: array[:, place] for place, name in enumerate("abc")})
    pq.write_table(columns, path, row_group_size=7)


def read_npz(path: Path) -> NDArray:
    with np.load(path) as found:
        return found["y"]


def read_csv(path: Path) -> NDArray:
    header, *lines = path.read_text().splitlines()
    assert header == "y_0,y_1,y_2"
    rows = [[float(field or "nan") for field in line.split(",")] for line in lines]
    return np.array(rows, np.float32).reshape(-1, WIDTH)


def read_jsonl(path: Path) -> NDArray:
    rows = [json.loads(line) or [np.nan] * WIDTH for line in path.read_text().splitlines()]
    return np.array(rows, np.float32).reshape(-1, WIDTH)


def read_parquet(path: Path) -> NDArray:
    found = pq.read_table(path)
    if not found.num_rows:
        return np.empty((0, WIDTH), np.float32)
    rows = [row or [np.nan] * WIDTH for row in found.column("y").to_pylist()]
    return np.array(rows, np.float32)


FORMATS: dict[str, tuple[Callable[[Path, NDArray], None], Callable[[Path], NDArray]]] = {
    "npy": (write_npy, np.load),
    "npz": (write_npz, read_npz),
    "csv": (write_csv, read_csv),
    "jsonl": (write_jsonl, read_jsonl),
    "parquet": (write_parquet, read_parquet),
}
