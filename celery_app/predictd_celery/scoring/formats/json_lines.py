""".jsonl: one JSON value a line: the numbers of the model's one input, or an object with each input by name.

Owns reading and writing them. Any thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.shaping import RowShapes, has_free_axis, only_input, shaped, unlike_first
from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span
from predictd_celery.scoring.formats.text_lines import all_lines, lines_of, scan_lines
from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.dtypes import NUMPY_DTYPES, STRING
from predictd_proto.errors import ConfigError
from predictd_proto.tensors import TensorSpec

#: What a line can be wrong in; lists within lists within lists end Python's stack.
_BAD = (ValueError, TypeError, OverflowError, RecursionError, ConfigError)
_Row = dict[str, NDArray[Any]]


def scan(source: Source, limits: Limits) -> Scan:
    """Return a file's digest and chunks."""
    return scan_lines(source, limits)


def read(source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
    """Return the rows of one chunk; where the model leaves a shape open, all have that of the file's first good one."""
    first = _first_shapes(source, tuple(specs), source.stamp()) if has_free_axis(specs) else None
    good: list[_Row] = []
    bad = []
    for row, (number, line) in enumerate(lines_of(source, span)):
        try:
            found = _row(line, specs, source.name)
            why = unlike_first(_shapes(found), first)
        except _BAD as error:
            found, why = {}, str(error)
        if why:
            bad.append(BadRow(row, f"{source.name}:{number}", why))
        else:
            good.append(found)
    arrays = {spec.name: np.concatenate([one[spec.name] for one in good]) for spec in specs} if good else {}
    return Rows(span.rows, arrays, tuple(bad), (source.name, span.first_row))


@lru_cache(maxsize=8)
def _first_shapes(source: Source, specs: tuple[TensorSpec, ...], stamp: tuple[int, int]) -> RowShapes | None:
    del stamp  # a file that was replaced is another one
    for line in all_lines(source):
        try:
            return _shapes(_row(line, specs, source.name))
        except _BAD:
            continue
    return None


def _shapes(row: _Row) -> RowShapes:
    return {name: array.shape[1:] for name, array in row.items()}


def _row(line: bytes, specs: Sequence[TensorSpec], name: str) -> _Row:
    value = json.loads(line)
    if isinstance(value, dict):
        missing = [spec.name for spec in specs if spec.name not in value]
        if missing:
            message = f"expected the inputs {[spec.name for spec in specs]}, got {sorted(value)}"
            raise ValueError(message)
        values = {spec: value[spec.name] for spec in specs}
    else:
        values = {only_input(specs, name): value}
    return {spec.name: shaped(_array(item, spec), spec, "row") for spec, item in values.items()}


def _array(value: Any, spec: TensorSpec) -> NDArray[Any]:
    if spec.dtype == STRING:
        return _texts(value, spec)
    # bfloat16 is none of numpy's own.
    dtype = NUMPY_DTYPES.get(spec.dtype, np.dtype(np.float32))
    if dtype.kind in "iu":
        return _whole_numbers(value, spec, dtype)
    found = np.asarray([value])
    if found.dtype.kind not in "biuf":
        message = f"expected numbers of {spec.dtype} for the input {spec.name!r}"
        raise ValueError(message)
    with np.errstate(over="ignore"):
        return found.astype(dtype)


def _texts(value: Any, spec: TensorSpec) -> NDArray[Any]:
    found = np.array([value], object)
    for item in found.reshape(-1).tolist():
        if not isinstance(item, str):
            message = f"expected texts for the input {spec.name!r}, got {type(item).__name__}"
            raise TypeError(message)
        item.encode()  # half of a surrogate pair can't travel
    return found


def _whole_numbers(value: Any, spec: TensorSpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    found = np.asarray([value])
    if found.dtype.kind not in "bi":
        # Beyond int64: numpy makes floats, or objects, of them.
        found = np.array([value], object)
        if not all(isinstance(item, int) for item in found.reshape(-1).tolist()):
            message = f"expected whole numbers of {spec.dtype} for the input {spec.name!r}"
            raise ValueError(message)
    if found.size:
        range_, lowest, highest = np.iinfo(dtype), int(found.min()), int(found.max())
        if not range_.min <= lowest <= highest <= range_.max:
            got = lowest if lowest < range_.min else highest
            message = f"expected numbers from {range_.min} to {range_.max} ({spec.dtype}) for {spec.name!r}, got {got}"
            raise ValueError(message)
    return found.astype(dtype)


def row_lines(
    names: Sequence[str], arrays: Sequence[NDArray[Any]], is_null: Sequence[bool], members: Sequence[str]
) -> bytes:
    """Return rows of outputs as lines; null rows are `null`.

    Args:
        names: The outputs' names; of one alone the value stands by itself.
        arrays: The outputs.
        is_null: For each row.
        members: Each row's file, where it has one of its own.
    """
    lines = []
    columns = [array.tolist() for array in arrays]
    for row, null in enumerate(is_null):
        values = [_plain(column[row]) for column in columns]
        value: Any = None if null else values[0] if len(names) == 1 else dict(zip(names, values, strict=True))
        lines.append(json.dumps({"file": members[row], "outputs": value} if members else value) + "\n")
    return "".join(lines).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
