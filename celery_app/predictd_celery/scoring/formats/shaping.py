"""Numbers in columns -> arrays as a model takes them.

Owns which columns belong to which input, which shapes a row may have, and which whole numbers an input holds. It reads
no file. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.dtypes import NUMPY_DTYPES
from predictd_proto.errors import ConfigError
from predictd_proto.tensors import TensorSpec

#: The shape of one row, by input name.
RowShapes = Mapping[str, tuple[int, ...]]


def only_input(specs: Sequence[TensorSpec], name: str) -> TensorSpec:
    """Return a model's one input.

    Raises:
        ConfigError: It has several.
    """
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        message = f"{name}: the model takes several inputs ({names}): expected a file that names them (.npz, .jsonl)"
        raise ConfigError(message)
    return specs[0]


def shaped(array: NDArray[Any], spec: TensorSpec, name: str) -> NDArray[Any]:
    """Return rows in the shape of an input, where they have as many numbers as it.

    Raises:
        ConfigError: They have not.
    """
    return array.reshape(len(array), *row_shape(array.shape[1:], spec, name))


def row_shape(shape: tuple[int, ...], spec: TensorSpec, name: str) -> tuple[int, ...]:
    """Return the shape that a row of some shape gets as an input, where it has as many numbers as that.

    Raises:
        ConfigError: It has not.
    """
    axes = spec.shape[1:]
    if len(shape) == len(axes) and all(want in {None, got} for want, got in zip(axes, shape, strict=True)):
        return shape
    known = prod(axis for axis in axes if axis is not None)
    per_row = prod(shape)
    if axes.count(None) > 1 or (known != per_row if None not in axes else not known or per_row % known):
        message = f"{name}: each row has {per_row} numbers; expected {spec} for the model's input {spec.name!r}"
        raise ConfigError(message)
    return tuple(per_row // known if axis is None else axis for axis in axes)


def has_free_axis(specs: Sequence[TensorSpec]) -> bool:
    """Whether the signature leaves a row's shape open: then a file's first good row has it."""
    return any(None in spec.shape[1:] for spec in specs)


def unlike_first(shapes: RowShapes, first: RowShapes | None) -> str:
    """Return why a row can't go with its file's first good row, in one array; empty where it can.

    Args:
        shapes: The row's.
        first: The first good row's; None where the signature says it all.
    """
    if first is None or shapes == first:
        return ""
    got, expected = ([list(held[name]) for name in first] for held in (shapes, first))
    return f"a row of shape {got}, expected {expected} as in the file's first good row: the model leaves it open"


def without_misfits(rows: Rows, specs: Sequence[TensorSpec]) -> Rows:
    """Return rows without those with whole numbers that an input can't hold: cast, they would be any other number."""
    why: dict[int, str] = {}
    for spec in specs:
        array = rows.arrays.get(spec.name, np.empty(0))
        for place in np.flatnonzero(_is_out_of_range(array, spec)):
            why.setdefault(int(place), f"a number out of the range of {spec.dtype} for the input {spec.name!r}")
    if not why:
        return rows
    good = rows.good
    bad = [BadRow(good[place], rows.place(good[place]), text) for place, text in why.items()]
    arrays = {name: np.delete(array, list(why), axis=0) for name, array in rows.arrays.items()}
    return replace(rows, arrays=arrays, bad=tuple(sorted((*rows.bad, *bad), key=lambda one: one.row)))


def _is_out_of_range(array: NDArray[Any], spec: TensorSpec) -> NDArray[np.bool_]:
    wanted = NUMPY_DTYPES.get(spec.dtype, np.dtype(object))
    is_out = np.zeros(len(array), np.bool_)
    if wanted.kind not in "iu" or array.dtype.kind not in "iu" or np.can_cast(array.dtype, wanted) or not array.size:
        return is_out
    range_ = np.iinfo(wanted)
    if not range_.min <= int(array.min()) <= int(array.max()) <= range_.max:
        flat = array.reshape(len(array), -1)
        lowest, highest = flat.min(axis=1), flat.max(axis=1)
        # As Python's numbers: int64 and uint64 have no common dtype that is exact.
        pairs = zip(lowest.tolist(), highest.tolist(), strict=True)
        is_out[:] = [low < range_.min or high > range_.max for low, high in pairs]
    return is_out
