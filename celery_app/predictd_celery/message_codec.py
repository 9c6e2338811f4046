"""Python values <-> the bytes of a message, arrays beside the tree that holds them.

Owns the layout and every check of it. It opens nothing but, while encoding, the claim store (`claims`), and never
pickles. What each type looks like is `message_types.py`'s. Any thread.

    8 bytes    "predictd"
    uint32     version of the layout, little-endian: 1
    uint32     length of the tree in bytes, little-endian
    ...        the tree: msgpack, with the extension types of `message_types.py`
    ...        the arrays' data, one after the other, in the order of the tree; laid out as on predictd's wire

The data is copied once each way: into the message, and out of it into an array of its own that may be written to.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgpack
import numpy as np

from predictd_celery.claims.claim import received_shape
from predictd_celery.claims.claim_check import claim_check
from predictd_celery.claims.claimed_array import ClaimedArray
from predictd_celery.message_tensors import message_tensor
from predictd_celery.message_types import MARKERS, Code, Marker, is_native, plain_of, read_leaf
from predictd_celery.trees import DEPTH_TEXT
from predictd_proto.dtypes import Buffer, is_dtype
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError
from predictd_proto.tensors import Tensor, check_data

# Not what Celery's database backend takes for pickle when it can't be read (0x80), nor its mark of a compressed result.
MAGIC = b"predictd"
VERSION = 1
_HEAD = struct.Struct("<8sII")
_NAME = "array in a message"
#: How timestamps of msgpack's three sizes begin; other bytes may look alike.
_MAYBE_TIMESTAMP = re.compile(rb"\xd6\xff|\xd7\xff|\xc7\x0c\xff")


def encode(value: Any) -> bytes:
    """Return a value as a message.

    Raises:
        LocalProtocolError: There is something in it that can't travel; the text names the type.
        ClaimError: An array above the claim size could not be put into the store.
    """
    return _Writer().message(value)


def decode(payload: Buffer | str) -> Any:
    """Return the value of a message; arrays in the claim store come as `ClaimedArray`, without a look at the store.

    Raises:
        RemoteProtocolError: The message can't be read; the text says why.
    """
    if isinstance(payload, str):
        message = "message: expected bytes, got text: whatever stores it has decoded it"
        raise RemoteProtocolError(message)
    view = memoryview(payload).cast("B")
    if len(view) < _HEAD.size:
        message = f"message: its head takes {_HEAD.size} bytes, got {len(view)}"
        raise RemoteProtocolError(message)
    magic, version, tree_bytes = _HEAD.unpack_from(view)
    if magic != MAGIC:
        message = f"message: expected {MAGIC!r} at its start, got {magic!r}"
        raise RemoteProtocolError(message)
    if version != VERSION:
        message = f"message: of version {version} of the layout, this side reads {VERSION}; update predictd here"
        raise RemoteProtocolError(message)
    end = _HEAD.size + tree_bytes
    if end > len(view):
        message = f"message: its tree takes {tree_bytes} bytes, got {len(view) - _HEAD.size}"
        raise RemoteProtocolError(message)
    return _Reader(view[end:]).value(view[_HEAD.size : end])


class _Writer:
    """One message while it is put together."""

    def __init__(self) -> None:
        self.parts: list[Buffer] = []

    def message(self, value: Any) -> bytes:
        try:
            tree = msgpack.packb(value, default=self._other, strict_types=True, unicode_errors="surrogatepass")
            _refuse_timestamps(tree)
        except (ValueError, OverflowError, BufferError, RecursionError) as error:
            # msgpack says no more than "recursion limit exceeded".
            message = f"message: it can't be written ({type(error).__name__}: {error}); {DEPTH_TEXT}"
            raise LocalProtocolError(message) from error
        return b"".join([_HEAD.pack(MAGIC, VERSION, len(tree)), tree, *self.parts])

    def _other(self, value: Any) -> Any:
        """Whatever msgpack has no type for, subclasses of what it has included."""
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, ClaimedArray):
            return msgpack.ExtType(Code.CLAIM, msgpack.packb(value.claim.as_fields()))
        if isinstance(value, np.generic) and not isinstance(value, (str, bytes)):
            tensor = Tensor.from_array(type(value).__name__, np.asarray(value))
            return msgpack.ExtType(Code.SCALAR, tensor.dtype.encode() + b"\0" + bytes(tensor.data))
        plain = plain_of(value)
        # msgpack asks once about each value: what a `__json__` returned may be anything.
        return plain if is_native(plain) else self._other(plain)

    def _array(self, array: np.ndarray[Any, Any]) -> msgpack.ExtType:
        tensor = message_tensor(array)
        claim = claim_check().kept(tensor)
        if claim is not None:
            return msgpack.ExtType(Code.CLAIM, msgpack.packb(claim.as_fields()))
        self.parts.append(tensor.data)
        return msgpack.ExtType(Code.ARRAY, msgpack.packb((tensor.dtype, tensor.shape, tensor.byte_count)))


class _Reader:
    """One message while it is taken apart.

    Args:
        data: The arrays' data. Each array takes its bytes from where the last one ended: a message can't make many
            arrays out of the same bytes.
    """

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.taken = 0
        self.open_markers = 0

    def value(self, tree: memoryview) -> Any:
        try:
            value = msgpack.unpackb(
                tree,
                ext_hook=self._extension,
                list_hook=self._closed,
                strict_map_key=False,
                unicode_errors="surrogatepass",
            )
            _refuse_timestamps(tree)
        except (ValueError, TypeError, OverflowError, msgpack.UnpackException, RecursionError) as error:
            message = f"message: its tree can't be read ({type(error).__name__}: {str(error)[:200]})"
            raise RemoteProtocolError(message) from error
        if self.open_markers:
            message = "message: a tuple or set that is none: its mark is not the first item of a list"
            raise RemoteProtocolError(message)
        if self.taken != len(self.data):
            message = f"message: its arrays take {self.taken} bytes, got {len(self.data)}"
            raise RemoteProtocolError(message)
        return value

    def _extension(self, code: int, data: bytes) -> Any:
        if code == Code.ARRAY:
            return self._array(*_array_fields(data))
        if code == Code.CLAIM:
            return ClaimedArray.from_fields(msgpack.unpackb(data))
        if code == Code.SCALAR:
            dtype, _, raw = data.partition(b"\0")
            return _checked(dtype.decode("ascii"), (), raw).array()[()]
        marker = MARKERS.get(code)
        if marker is not None and not data:
            self.open_markers += 1
            return marker
        return read_leaf(code, data)

    def _closed(self, items: list[Any]) -> Any:
        if not items or type(items[0]) is not Marker:
            return items
        self.open_markers -= 1
        return items[0].build(items[1:])

    def _array(self, dtype: str, shape: tuple[int, ...], byte_count: int) -> np.ndarray[Any, Any]:
        start, self.taken = self.taken, self.taken + byte_count
        if self.taken > len(self.data):
            message = f"message: its arrays take more than the {len(self.data)} bytes that came"
            raise RemoteProtocolError(message)
        return _checked(dtype, shape, self.data[start : self.taken]).array()


def _refuse_timestamps(tree: Buffer) -> None:
    """Raise where there is one of msgpack's own timestamps: it reads and writes them without asking."""
    if not _MAYBE_TIMESTAMP.search(tree):
        return

    def check(items: Iterable[Any]) -> None:
        if any(type(item) is msgpack.Timestamp for item in items):
            message = "a msgpack.Timestamp, which is no type of this layout; send a datetime"
            raise ValueError(message)

    root = msgpack.unpackb(
        tree,
        ext_hook=lambda code, data: None,
        list_hook=check,
        object_pairs_hook=lambda pairs: check(chain.from_iterable(pairs)),
        strict_map_key=False,
        unicode_errors="surrogatepass",
    )
    check([root])


def _array_fields(data: bytes) -> tuple[str, tuple[int, ...], int]:
    fields = msgpack.unpackb(data, use_list=False)
    if type(fields) is not tuple or len(fields) != 3:  # noqa: PLR2004
        message = "message: an array without dtype, shape and size"
        raise RemoteProtocolError(message)
    dtype, shape, byte_count = fields
    if type(byte_count) is not int or byte_count < 0:
        message = f"message: an array's size is a whole number, got {str(byte_count)[:80]}"
        raise RemoteProtocolError(message)
    return dtype, shape, byte_count


def _checked(dtype: object, shape: object, data: Buffer) -> Tensor:
    if not is_dtype(dtype) or not isinstance(dtype, str):
        message = f"message: an array of the unknown dtype {str(dtype)[:80]!r}"
        raise RemoteProtocolError(message)
    tensor = Tensor(_NAME, dtype, received_shape(shape), data)
    check_data(tensor)
    return tensor
