"""What the arguments of Keras' `predict` mean: counts, steps, and which calls are small.

Owns their checks and their arithmetic. The caller's thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd.rows.chunks import KERAS_BATCH_SIZE
from predictd.rows.lazy_rows import LazyRows, first_rows
from predictd.rows.many_rows import row_count
from predictd_proto.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Values of `verbose` that draw nothing for a single step.
QUIET = ("auto", 0)

#: So little goes as one request without a look at the server's limits: at the usual price of a call.
_SMALL_BYTES = 1 << 16


def count_of(name: str, value: Any) -> int | None:
    """Return a count as Python's own integer: numpy's are as good.

    Raises:
        ConfigError: It is none, or below 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        text = f"{name}: expected a whole number of at least 1, or None, got {value!r}"
        raise ConfigError(text)
    return int(value)


def check_callbacks(callbacks: Sequence[Any] | None) -> None:
    """Check that there is nothing to call.

    Raises:
        ConfigError: There is.
    """
    if callbacks:
        text = "callbacks: a served model calls none; expected None, got some"
        raise ConfigError(text)


def first_steps(
    arrays: list[NDArray[Any] | LazyRows], batch_size: int | None, steps: int | None
) -> tuple[list[NDArray[Any] | LazyRows], int]:
    """Return the rows of so many steps, and how many rows a step has, both as Keras has it."""
    rows = row_count(arrays)
    if steps is None or not rows:
        return arrays, batch_size or KERAS_BATCH_SIZE
    # Without a batch size all the rows are spread over the steps.
    per_step = batch_size or -(-rows // steps)
    given = -(-rows // per_step)
    if given < steps:
        text = f"predict: x has {given} batches of {per_step} rows, fewer than steps={steps}: all rows are answered"
        warnings.warn(text, UserWarning, stacklevel=3)
    if given <= steps:
        return arrays, per_step
    return [first_rows(array, steps * per_step) for array in arrays], per_step


def small_rows(x: Any, batch_size: int | None) -> NDArray[Any] | None:
    """Return x as an array where it goes as one request at any usual server: a small array, or a short list of rows."""
    if type(x) is list:
        x = _as_array(x)
    if type(x) is not np.ndarray or not x.ndim or x.nbytes > _SMALL_BYTES:
        return None
    is_short = len(x) <= (KERAS_BATCH_SIZE if batch_size is None else min(batch_size, KERAS_BATCH_SIZE))
    return x if is_short else None


def _as_array(rows: list[Any]) -> Any:
    """Return rows of numbers as an array; what is no short list of them as it is.

    A model of several inputs takes a list of one for each: it refuses an array, and is asked in parts then.
    """
    if not 0 < len(rows) <= KERAS_BATCH_SIZE or type(rows[0]) not in {list, tuple} or len(rows[0]) > _SMALL_BYTES:
        return rows
    try:
        array = np.asarray(rows)
    except ValueError:  # of different lengths
        return rows
    return array if array.dtype.kind in "biuf" else rows
