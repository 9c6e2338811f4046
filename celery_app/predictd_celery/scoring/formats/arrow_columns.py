"""pyarrow's columns -> the shapes of their rows, and their numbers as numpy has them.

Owns what a null, and a list in a column, is to a row. It opens no file. Any thread.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.extras import needed


@lru_cache(maxsize=64)
def is_list(kind: Any) -> bool:
    """Whether a column's type is lists, of whatever length."""
    types = needed("pyarrow.types", "parquet", "a .parquet file")
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def null_rows(column: Any) -> list[int]:
    """Return the rows that are null themselves."""
    return np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist() if column.null_count else []


def list_shapes(column: Any) -> list[tuple[int, ...] | str]:
    """Return the shape of each row of a column of lists, or what is wrong with it."""
    shape = _one_shape(column.combine_chunks())
    if shape is not None:
        return [shape] * len(column)
    depth = _depth(column.type)
    return [_shape_of(value, depth) for value in column.to_pylist()]


def leaves_of(column: Any) -> NDArray[Any]:
    """Return what is in the lists of a column without nulls, one after the other; of other columns the rows."""
    array = column.combine_chunks()
    while is_list(array.type):
        array = array.flatten()
    if hasattr(array, "dictionary_decode"):
        array = array.dictionary_decode()
    found: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return found if found.dtype != object or is_text(found) else np.array(found.tolist())


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array's elements are texts."""
    return array.dtype == object and all(isinstance(value, (str, bytes)) for value in array.reshape(-1).tolist())


def _depth(kind: Any) -> int:
    return 1 + _depth(kind.value_type) if is_list(kind) else 0


def _one_shape(array: Any) -> tuple[int, ...] | None:
    """Return the shape that all rows have; None where they differ, or something is null."""
    lengths_of = needed("pyarrow.compute", "parquet", "a .parquet file").list_value_length
    shape: list[int] = []
    while is_list(array.type) and not array.null_count:
        lengths = np.unique(lengths_of(array).to_numpy(zero_copy_only=False)).tolist()
        if len(lengths) > 1:
            return None
        shape += lengths or [0]
        array = array.flatten()
    return None if array.null_count else tuple(shape)


def _shape_of(value: Any, depth: int) -> tuple[int, ...] | str:
    if value is None:
        return "null, or a null in a list"
    if not depth:
        return ()
    shapes: set[tuple[int, ...]] = set()
    for item in value:
        shape = _shape_of(item, depth - 1)
        if isinstance(shape, str):
            return shape
        shapes.add(shape)
    if len(shapes) > 1:
        return "lists of different lengths in one row"
    return (len(value), *(shapes.pop() if shapes else (0,) * (depth - 1)))
