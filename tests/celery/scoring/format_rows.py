"""A file's rows as its format reads them, chunk by chunk, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from predictd_celery.scoring.formats.kinds import KINDS, kind_of
from predictd_celery.scoring.formats.spans import Limits, Source
from predictd_celery.scoring.rows import Rows
from predictd_proto.tensors import TensorSpec


def chunks_of(path: Path, limits: Limits, *specs: TensorSpec) -> list[Rows]:
    """Return a file's chunks."""
    kind = KINDS[kind_of(path)]
    source = Source(str(path), path.name, str(path.parent))
    return [kind.read(source, span, specs) for span in kind.scan(source, limits).spans]


def rows_of(path: Path, limits: Limits, *specs: TensorSpec) -> list[Any]:
    """Return a file's rows in order, each as lists, or as where and why it is bad."""
    found: list[Any] = []
    for rows in chunks_of(path, limits, *specs):
        own: list[Any] = [None] * rows.count
        for one in rows.bad:
            own[one.row] = str(one)
        for place, row in enumerate(rows.good):
            own[row] = tuple(_plain(rows.arrays[spec.name][place]) for spec in specs)
        assert all(len(array) == len(rows.good) for array in rows.arrays.values())
        found += own
    return found


def values_of(rows: Sequence[Any]) -> list[Any]:
    """Return what `rows_of` returns of a model of one input, bad rows as None."""
    return [None if isinstance(row, str) else row[0] for row in rows]


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()
