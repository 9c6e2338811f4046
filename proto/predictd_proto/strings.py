"""Strings on the wire: per element, in C order, a little-endian uint32 length and that many bytes.

Owns this one layout: writing, checking, reading and cutting it by rows. Any thread.
"""

from __future__ import annotations

import struct
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from predictd_proto.dtypes import Buffer
from predictd_proto.errors import LocalProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTH_BYTES = 4
MAX_STRING_BYTES = (1 << 32) - 1
_LENGTH = struct.Struct("<I")


def strings_to_bytes(array: NDArray[Any], name: str) -> bytes:
    """Return an array of str or bytes in the layout; str becomes UTF-8.

    Args:
        array: Of objects, or of numpy's own string types.
        name: The tensor's name, for the error's text.

    Raises:
        LocalProtocolError: An element has no form in UTF-8, or is too long.
    """
    # Not `array.flat`: it makes a numpy scalar of each element.
    elements = array.reshape(-1).tolist()
    try:
        raw = [item if type(item) is bytes else _raw(item) for item in elements]
        lengths = map(_LENGTH.pack, map(len, raw))
        return b"".join(chain.from_iterable(zip(lengths, raw, strict=True)))
    except UnicodeEncodeError as error:
        text = f"tensor {name!r}: a string that UTF-8 can't carry: {error}; pass bytes"
        raise LocalProtocolError(text) from error
    except struct.error as error:
        text = f"tensor {name!r}: a string of more than {MAX_STRING_BYTES} bytes"
        raise LocalProtocolError(text) from error


def _raw(element: str | bytes) -> bytes:
    return element.encode() if isinstance(element, str) else bytes(element)


def misfit_of_strings(data: Buffer, count: int) -> str | None:
    """Return what is wrong with `count` strings in the layout; None when they fill the data exactly."""
    size = len(data)
    if count * LENGTH_BYTES > size:
        return f"takes at least {count * LENGTH_BYTES} bytes, got {size}"
    length_at = _LENGTH.unpack_from
    last = size - LENGTH_BYTES
    position = 0
    for done in range(count):
        if position > last:
            return f"string {done} of {count} begins at byte {position}, got {size} bytes"
        position += LENGTH_BYTES + length_at(data, position)[0]
    if position != size:
        return f"its strings take {position} bytes, got {size}"
    return None


def strings_from_bytes(data: Buffer, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return checked data as an array of bytes objects."""
    raw = bytes(data)
    length_at = _LENGTH.unpack_from
    size = len(raw)
    elements: list[bytes] = []
    position = 0
    while position < size:
        start = position + LENGTH_BYTES
        position = start + length_at(raw, position)[0]
        elements.append(raw[start:position])
    array: NDArray[Any] = np.empty(shape, dtype=object)
    array.reshape(-1)[:] = elements
    return array


def row_offsets(data: Buffer, shape: tuple[int, ...]) -> list[int]:
    """Return the byte offset of each row of checked data, and the end: `rows + 1` numbers."""
    per_row = prod(shape[1:])
    if not per_row:
        return [0] * (shape[0] + 1)
    length_at = _LENGTH.unpack_from
    offsets = [0]
    position = 0
    for _ in range(shape[0]):
        for _ in range(per_row):
            position += LENGTH_BYTES + length_at(data, position)[0]
        offsets.append(position)
    return offsets
