"""Tensors on the wire: numpy arrays <-> (name, dtype, shape, bytes).

Owns `Tensor`, `TensorSpec` and every check of a size against a shape. It opens nothing, allocates nothing that a peer's
numbers alone ask for, and never pickles. Any thread.

Layout: C order, little-endian, no padding. `bool` is one byte, 0 or 1. `string` is, per element in C order, a
little-endian uint32 length and that many bytes. `bfloat16` is the upper half of a float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.bfloat16 import bfloat16_from_bytes, bfloat16_to_bytes
from predictd_proto.checks import check_text, refuse
from predictd_proto.dtypes import (
    BFLOAT16,
    DTYPE_BYTES,
    NUMPY_DTYPES,
    STRING,
    WIRE_NAMES,
    Buffer,
    is_dtype,
    wire_dtype,
)
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError
from predictd_proto.limits import MAX_AXIS, MAX_RANK
from predictd_proto.strings import (
    misfit_of_strings,
    row_offsets,
    strings_from_bytes,
    strings_to_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DTYPE_BYTES",
    "MAX_NAME",
    "STRING",
    "Buffer",
    "Tensor",
    "TensorSpec",
    "check_data",
    "contiguous_bytes",
    "is_dtype",
    "string_row_offsets",
    "wire_dtype",
]

#: Characters of a tensor's name.
MAX_NAME = 1024

#: Below this a copy of an array costs less than a view of its memory.
_COPY_BYTES = 1 << 16

#: What numpy can address; a shape beyond it has no array, not even an empty one.
_MAX_ADDRESSED_BYTES = (1 << 63) - 1
_OBJECT_BYTES = 8
_BOOL_BYTES = b"\x00\x01"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a signature asks of one tensor.

    Attributes:
        name: The tensor's name within its signature.
        dtype: One of the wire's dtypes.
        shape: Axis lengths; None is a free axis. Axis 0 counts rows.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        check_text("name", self.name, MAX_NAME)
        if not is_dtype(self.dtype):
            refuse(f"dtype of tensor {self.name!r}", "one of the wire's dtypes", self.dtype)
        if type(self.shape) is not tuple or len(self.shape) > MAX_RANK:
            refuse(f"shape of tensor {self.name!r}", f"a tuple of at most {MAX_RANK} axes", self.shape)
        for axis in self.shape:
            if axis is not None and (type(axis) is not int or not 0 <= axis <= MAX_AXIS):
                refuse(f"shape of tensor {self.name!r}", f"axes from 0 to {MAX_AXIS} or None", axis)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(self.axes)}]"

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes' lengths, free ones by a name: "rows", and "length" or, where there are more, "a", "b", ...

        A name says that the length is free; two tensors with the same one may still differ.
        """
        free = [index for index, axis in enumerate(self.shape) if axis is None and index]
        letters = ["length"] if len(free) == 1 else list(ascii_lowercase) + [f"axis_{number}" for number in free]
        names = {0: "rows", **dict(zip(free, letters, strict=False))}
        return tuple([names[index] if axis is None else str(axis) for index, axis in enumerate(self.shape)])


# Not frozen, though nobody changes one: that would be done by Python code, 0.6 of a request's microseconds.
@dataclass(slots=True, unsafe_hash=True)
class Tensor:
    """One tensor as it travels; not to be changed.

    Built by `from_array` or by decoding it is valid; whoever builds one by hand answers for its data.

    Attributes:
        name: The tensor's name within its signature.
        dtype: One of the wire's dtypes.
        shape: Axis lengths.
        data: The elements' bytes, in the layout above; may be a view into a received frame.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Buffer

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def byte_count(self) -> int:
        """Size of the data in bytes."""
        return len(self.data)

    def view(self) -> NDArray[Any]:
        """Return the tensor as an array that shares `data`, read-only where `data` is.

        Strings and, where the package ml_dtypes is missing, bfloat16 have no such view and are copied.
        """
        if self.dtype == STRING:
            return strings_from_bytes(self.data, self.shape)
        if self.dtype == BFLOAT16:
            return bfloat16_from_bytes(self.data, self.shape)
        return np.frombuffer(self.data, NUMPY_DTYPES[self.dtype]).reshape(self.shape)

    def array(self) -> NDArray[Any]:
        """Return the tensor as an array that owns its memory and may be written to."""
        array = self.view()
        return array if array.flags.owndata and array.flags.writeable else array.copy()

    @classmethod
    def from_array(cls, name: str, array: NDArray[Any], dtype: str | None = None) -> Tensor:
        """Return an array as a tensor; large data is shared with the array, not copied.

        Args:
            name: The tensor's name within its signature.
            array: Any array: strided, big-endian, read-only and 0-d ones are fine.
            dtype: Cast to this dtype first; None keeps the array's own.

        Raises:
            LocalProtocolError: The dtype has no form on the wire (objects other than strings, records, dates), is
                unknown, or can't be cast to.
        """
        own = WIRE_NAMES.get(array.dtype) or wire_dtype(array, name)
        wanted = own if dtype is None else dtype
        if wanted in NUMPY_DTYPES and own != STRING:
            plain = np.asarray(array, dtype=NUMPY_DTYPES[wanted], order="C")
            return cls(name, wanted, plain.shape, contiguous_bytes(plain))
        if wanted == STRING == own:
            return cls(name, STRING, array.shape, strings_to_bytes(array, name))
        if wanted == BFLOAT16 and own != STRING:
            return cls(name, BFLOAT16, array.shape, bfloat16_to_bytes(array))
        raise LocalProtocolError(_why_no_cast(name, own, wanted))


def contiguous_bytes(array: NDArray[Any]) -> Buffer:
    """Return a C-contiguous array's memory: a copy where that is cheap, else a view that keeps the array alive."""
    if array.nbytes <= _COPY_BYTES:
        return array.tobytes()
    return array.reshape(-1).view(np.uint8).data


def check_data(tensor: Tensor) -> None:
    """Check a received tensor's shape against its bytes; allocates nothing.

    Raises:
        RemoteProtocolError: They don't agree, or the bytes are no value of the dtype.
    """
    data = tensor.data
    count = prod(tensor.shape)
    if not count:
        _check_addressable(tensor)
    if tensor.dtype == STRING:
        misfit = misfit_of_strings(data, count)
        if misfit is not None:
            text = f"tensor {tensor.name!r}: {tensor} of strings: {misfit}"
            raise RemoteProtocolError(text)
        return
    expected = count * DTYPE_BYTES[tensor.dtype]
    if expected != len(data):
        text = f"tensor {tensor.name!r}: {tensor} takes {expected} bytes, got {len(data)}"
        raise RemoteProtocolError(text)
    if tensor.dtype == "bool" and count and not _is_bools(data):
        text = f"tensor {tensor.name!r}: a bool is one byte, 0 or 1, got another value"
        raise RemoteProtocolError(text)


def string_row_offsets(tensor: Tensor) -> list[int]:
    """Return the byte offset of each row of a checked string tensor, and the end: `rows + 1` numbers."""
    return row_offsets(tensor.data, tensor.shape)


def _check_addressable(tensor: Tensor) -> None:
    """An empty tensor's other axes are bounded by nothing that was sent."""
    size = DTYPE_BYTES.get(tensor.dtype, _OBJECT_BYTES)
    for axis in tensor.shape:
        size *= axis or 1
    if size > _MAX_ADDRESSED_BYTES:
        text = f"tensor {tensor.name!r}: {tensor} is empty, but its other axes are beyond any array"
        raise RemoteProtocolError(text)


def _is_bools(data: Buffer) -> bool:
    if isinstance(data, bytes) and len(data) <= _COPY_BYTES:
        return not data.strip(_BOOL_BYTES)
    return int(np.frombuffer(data, np.uint8).max()) <= 1


def _why_no_cast(name: str, own: str, wanted: str) -> str:
    if not is_dtype(wanted):
        return f"tensor {name!r}: unknown dtype {wanted!r}; expected one of {', '.join(DTYPE_BYTES)}, {STRING}"
    if own == STRING:
        return f"tensor {name!r}: strings can't be cast to {wanted}; pass numbers"
    return f"tensor {name!r}: {own} can't be cast to string; pass an array of str or bytes"
