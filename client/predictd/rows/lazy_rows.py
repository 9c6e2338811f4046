"""Lazy rows: large inputs that are no array yet, read slice by slice as their turn comes.

Owns telling such inputs apart (frames, sparse matrices, arrays in files) and reading a slice of them, so that a table
larger than the memory can be sent. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd.requests.structure_match import as_array

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LazyRows:
    """Something with rows.

    Args:
        shape: Its shape; axis 0 counts the rows.
        read: Returns the rows of a slice as an array.
    """

    __slots__ = ("_read", "shape")

    def __init__(self, shape: tuple[int, ...], read: Callable[[slice], NDArray[Any]]) -> None:
        self._read = read
        self.shape: tuple[int, ...] = shape

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return self._read(rows)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def rows_of(name: str, value: Any) -> NDArray[Any] | LazyRows:
    """Return a value as something whose rows can be sliced: an array, or what is read on demand.

    Args:
        name: The input's name, for error texts.
        value: What the caller handed in for it.

    Raises:
        TensorMismatchError: It is no array, nor anything that numpy can read.
    """
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "iloc") and getattr(value, "ndim", 0) == 2:  # noqa: PLR2004  (a frame: columns of any dtypes)
        return LazyRows(value.shape, lambda rows: value.iloc[rows].to_numpy())
    if hasattr(value, "tocsr") and hasattr(value, "toarray"):
        by_row = value.tocsr()
        return LazyRows(by_row.shape, lambda rows: by_row[rows].toarray())
    if all(hasattr(value, attribute) for attribute in ("shape", "dtype", "chunks", "__getitem__")):
        # What h5py and zarr read from a file.
        return LazyRows(tuple(value.shape), lambda rows: np.asarray(value[rows]))
    return as_array(name, value)


def first_rows(rows: NDArray[Any] | LazyRows, count: int) -> NDArray[Any] | LazyRows:
    """Return the first rows, read as late as all of them would be."""
    if isinstance(rows, LazyRows):
        return LazyRows((count, *rows.shape[1:]), rows.__getitem__)
    return rows[:count]
