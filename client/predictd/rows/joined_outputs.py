"""Joined outputs: the answers to consecutive chunks, put together along the rows as they come.

Owns the memory of the whole. Rows are written straight into their place and the place grows where it is, so that they
never sit in memory twice. The caller's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.errors import RemoteProtocolError, TensorMismatchError
from predictd_proto.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: By how much the place for an unknown number of rows grows when it is full: what is unused at the end is given back,
#: and large memory is moved by its page table, not copied.
_GROWTH = 1.25


class Joined:
    """Outputs of consecutive chunks.

    Args:
        rows: How many rows there will be; None where that isn't known before the end.
    """

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._filled = 0
        self._whole: list[NDArray[Any]] = []

    @property
    def is_empty(self) -> bool:
        """Whether there was no chunk."""
        return not self._whole

    def add(self, tensors: Sequence[Tensor], rows: int) -> None:
        """Take the next chunk's outputs, in the signature's order.

        Raises:
            RemoteProtocolError: They don't have as many rows as the chunk.
            TensorMismatchError: Their other axes or their dtype differ from those of earlier chunks.
        """
        for tensor in tensors:
            if not tensor.shape or tensor.shape[0] != rows:
                text = f"output {tensor.name!r}: expected {rows} rows, as many as were sent, got {tensor}"
                raise RemoteProtocolError(text)
        views = [tensor.view() for tensor in tensors]
        if not self._whole:
            room = rows if self._rows is None else self._rows
            self._whole = [np.empty((room, *view.shape[1:]), view.dtype) for view in views]
        filled = self._filled + rows
        for index, (view, tensor) in enumerate(zip(views, tensors, strict=True)):
            whole = self._whole[index]
            _check_same(tensor.name, whole, view)
            if filled > len(whole):
                whole = self._whole[index] = _resized(whole, max(filled, int(len(whole) * _GROWTH)))
            whole[self._filled : filled] = view
        self._filled = filled

    def arrays(self) -> list[NDArray[Any]]:
        """Return the outputs, which are the caller's from then on."""
        return [array if len(array) == self._filled else _resized(array, self._filled) for array in self._whole]


def _resized(array: NDArray[Any], rows: int) -> NDArray[Any]:
    if array.dtype.hasobject:
        # Pointers, not the strings themselves: to have these twice for a moment is cheap.
        other = np.empty((rows, *array.shape[1:]), array.dtype)
        other[: len(array)] = array[:rows]
        return other
    # Nobody else has seen this array, so there is no view of it that could be left behind.
    array.resize((rows, *array.shape[1:]), refcheck=False)
    return array


def _check_same(name: str, before: NDArray[Any], now: NDArray[Any]) -> None:
    if before.dtype != now.dtype:
        # Written into place it would become the other, silently.
        text = f"output {name!r}: one chunk gives {before.dtype}, another {now.dtype}: they can't be joined"
        raise TensorMismatchError(text)
    if before.shape[1:] != now.shape[1:]:
        text = (
            f"output {name!r}: one chunk gives rows of shape {list(before.shape[1:])}, another {list(now.shape[1:])}: "
            "they can't be joined; pad the inputs to one length, or call predict_on_batch for each part"
        )
        raise TensorMismatchError(text)
