"""Assembly: many requests' bytes to one batch's arrays, and one batch's outputs to many replies' bytes.

Owns the copies: one per request on the way in; on the way out replies share the outputs' memory until they are
sent. Touches no socket and no TensorFlow. Runs on whichever thread runs the batch; a workspace serves one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.tensors import DTYPE_BYTES, STRING, Buffer, Tensor, contiguous_bytes
from predictd_server.serving.batch import Batch
from predictd_server.serving.lengths import Cut
from predictd_server.serving.pending import Part

#: TensorFlow takes an input without copying it when it is aligned like this (EIGEN_MAX_ALIGN_BYTES).
ALIGNMENT_BYTES = 64

#: dtypes whose arrays need no look at each element to become bytes.
_NATIVE = {name: np.dtype(name) for name in DTYPE_BYTES if name != "bfloat16"}

#: Up to this size one `bytes.join` beats a slice copy per request, though TensorFlow then copies the unaligned result
#: once more (64 rows of 256 B: 3 against 30 microseconds).
JOIN_BYTES = 1 << 16


#: Larger inputs get memory of their own, which goes with their batch: what is reused stays for as long as the process.
REUSED_BYTES = 64 << 20


class Workspace:
    """Aligned memory for the inputs of one batch at a time, reused up to `REUSED_BYTES` for each.

    Attributes:
        is_lent: Whether the inputs that were assembled last are in it.
    """

    def __init__(self) -> None:
        self.is_lent = False
        self._blocks: dict[int, NDArray[np.uint8]] = {}

    def block(self, index: int, byte_count: int) -> NDArray[np.uint8]:
        """Return aligned memory for input `index`, valid until the next call for it."""
        self.is_lent = True
        if byte_count > REUSED_BYTES:
            return aligned_bytes(byte_count)
        held = self._blocks.get(index)
        if held is None or held.nbytes < byte_count:
            held = aligned_bytes(byte_count)
            self._blocks[index] = held
        return held[:byte_count]


def aligned_bytes(byte_count: int) -> NDArray[np.uint8]:
    """Return uninitialised memory that begins at a multiple of `ALIGNMENT_BYTES`."""
    raw = np.empty(byte_count + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + byte_count]


def assemble(batch: Batch, workspace: Workspace) -> list[NDArray[Any]]:
    """Return the batch's inputs: `dtype[size, ...]` each, padded by repeating the last row.

    A repeated row is always valid input, which zeros are not (an index, a length, a string).
    The arrays may share the workspace's memory or a received frame: they are valid until the next call.
    """
    workspace.is_lent = False
    return [_input(batch, index, workspace) for index in range(len(batch.signature.spec.inputs))]


def _input(batch: Batch, index: int, workspace: Workspace) -> NDArray[Any]:
    first = batch.parts[0].request.tensors[index]
    if batch.signature.lengths is not None and _has_other_lengths(batch, index):
        return _padded(batch, index, workspace)
    if not batch.signature.is_mergeable:
        return first.view()
    pieces = [_rows_of(part, index) for part in batch.parts]
    padding = batch.size - batch.rows
    if padding:
        pieces.extend([_last_row(batch.parts[-1], index)] * padding)
    shape = (batch.size, *batch.shapes[index])
    if first.dtype == STRING or len(pieces) == 1:
        joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return _array(first, shape, joined)
    byte_count = sum(map(len, pieces))
    if byte_count <= JOIN_BYTES:
        return _array(first, shape, b"".join(pieces))
    block = workspace.block(index, byte_count)
    _copy_into(block.data, pieces)
    return _array(first, shape, block.data)


def _array(like: Tensor, shape: tuple[int, ...], data: Buffer) -> NDArray[Any]:
    """Return data of one tensor's kind as an array of another shape, which shares it: `Tensor.view`, in one step."""
    dtype = _NATIVE.get(like.dtype)
    if dtype is None:
        return Tensor(like.name, like.dtype, shape, data).view()
    return np.ndarray(shape, dtype, data)


def _rows_of(part: Part, index: int) -> Buffer:
    request = part.request
    if part.rows == request.rows:
        return request.tensors[index].data
    return request.row_slice(index, part.start, part.rows)


def _has_other_lengths(batch: Batch, index: int) -> bool:
    shape = batch.shapes[index]
    return any(part.request.tensors[index].shape[1:] != shape for part in batch.parts)


def _padded(batch: Batch, index: int, workspace: Workspace) -> NDArray[Any]:
    """Return an input whose rows differ in length, each padded at its axes' ends to the lane's shape."""
    first = batch.parts[0].request.tensors[index]
    pad = None if batch.signature.lengths is None else batch.signature.lengths.pads[index]
    rows = batch.size if batch.signature.is_mergeable else first.shape[0]
    shape = (rows, *batch.shapes[index])
    if pad is None:
        strings: NDArray[Any] = np.full(shape, b"", dtype=object)
        _fill(strings, batch, index, lambda data, own: Tensor(first.name, STRING, own, data).view(), b"")
        return strings
    block = workspace.block(index, prod(shape) * pad.itemsize)
    _fill(block.view(pad.dtype).reshape(shape), batch, index, lambda data, own: _elements(data, pad.dtype, own), pad)
    return Tensor(first.name, first.dtype, shape, block.data).view()


def _fill(
    target: NDArray[Any],
    batch: Batch,
    index: int,
    read: Callable[[Buffer, tuple[int, ...]], NDArray[Any]],
    pad: object,
) -> None:
    """Copy each part's rows to the beginning of their place; pad the rest of it, and the batch with its last row."""
    position = 0
    for part in batch.parts:
        tensor = part.request.tensors[index]
        rows = part.rows if batch.signature.is_mergeable else tensor.shape[0]
        own = (rows, *tensor.shape[1:])
        place = target[position : position + rows]
        if own != place.shape:
            place[...] = pad
        data = part.request.row_slice(index, part.start, part.rows)
        place[tuple(map(slice, own))] = read(data, own)
        position += rows
    target[position:] = target[position - 1 : position]


def _elements(data: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.frombuffer(data, dtype).reshape(shape)


def _copy_into(target: memoryview, pieces: list[Buffer]) -> None:
    position = 0
    for piece in pieces:
        end = position + len(piece)
        target[position:end] = piece
        position = end


def _last_row(part: Part, index: int) -> Buffer:
    return part.request.row_slice(index, part.start + part.rows - 1, 1)


class OutputRows:
    """One output of a run, to be cut into the rows of each part.

    Args:
        name: The output's name.
        dtype: Its dtype on the wire.
        array: `dtype[size, ...]`; where it is large, its memory is shared by what `rows` returns.

    Attributes:
        row_shape: The shape of one row.
        row_bytes: Bytes of one row; 0 for strings.
    """

    def __init__(self, name: str, dtype: str, array: NDArray[Any]) -> None:
        self._name = name
        self._dtype = dtype
        self._array = array
        self._strings = array if dtype == STRING else None
        self._data = b"" if dtype == STRING else _bytes_of(name, dtype, array)
        self.row_shape = array.shape[1:]
        self.row_bytes = len(self._data) // max(array.shape[0], 1)

    def data(self, start: int, count: int) -> Buffer:
        """Return the bytes of some rows; not of strings."""
        return self._data[start * self.row_bytes : (start + count) * self.row_bytes]

    def rows(self, start: int, count: int) -> Tensor:
        """Return some rows as a tensor."""
        shape = (count, *self.row_shape)
        if self._strings is not None:
            data = Tensor.from_array(self._name, self._strings[start : start + count]).data
        else:
            data = self.data(start, count)
        return Tensor(self._name, self._dtype, shape, data)

    def cut_rows(self, start: int, count: int, cuts: Sequence[Cut]) -> Tensor:
        """Return some rows without what padded inputs added to them."""
        array = without_padding(self._array[start : start + count], cuts)
        return Tensor.from_array(self._name, array, self._dtype)


def without_padding(array: NDArray[Any], cuts: Sequence[Cut]) -> NDArray[Any]:
    """Return a view of an output without what padded inputs added to it."""
    for cut in cuts:
        # An output of another length than the inputs that it followed when it was tried is left as it is.
        if array.shape[cut.axis] == cut.padded:
            array = array[(slice(None),) * cut.axis + (slice(cut.length),)]
    return array


def _bytes_of(name: str, dtype: str, array: NDArray[Any]) -> Buffer:
    if array.dtype == _NATIVE.get(dtype) and array.flags.c_contiguous:
        return contiguous_bytes(array)
    return Tensor.from_array(name, array, dtype).data
