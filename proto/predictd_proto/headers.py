"""Headers: the msgpack map that each message begins with.

Owns packing and unpacking it, and the bounds that keep a small header from becoming a large object. It knows no message
and no tensor. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, cast

import msgpack

from predictd_proto.checks import shown
from predictd_proto.dtypes import Buffer
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError
from predictd_proto.limits import MAX_HEADER_ITEMS, MAX_LIST_ITEMS

#: Larger headers have their items counted while they are read; what a smaller one can become needs no counting.
_COUNTED_BYTES = 32768

#: Of a header that can't be read whole, only this much is searched for the request's id.
_SEARCHED_BYTES = 4096
_MAX_ID = (1 << 63) - 1

_pack = cast("Callable[[object], bytes]", msgpack.packb)
_unpack = cast("Callable[..., object]", msgpack.unpackb)


def pack_header(header: object, what: str) -> bytes:
    """Return a map as msgpack.

    Args:
        header: Plain maps, lists and scalars.
        what: The message's name, for the error's text.

    Raises:
        LocalProtocolError: A value can't be packed.
    """
    try:
        return _pack(header)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        text = f"{what}: a field can't travel: {error}; expected text, numbers, bytes, lists and maps"
        raise LocalProtocolError(text) from error


def unpack_header(frame: Buffer, start: int, most_items: int = MAX_LIST_ITEMS) -> dict[str, Any]:
    """Return the map that a header holds.

    Args:
        frame: The frame that the header is in.
        start: Where in the frame it begins.
        most_items: Items of one list, and keys of one map.

    Raises:
        RemoteProtocolError: It is no map, or more than is ever needed.
    """
    try:
        if len(frame) <= _COUNTED_BYTES:
            # A copy: msgpack takes longer to look into a view than to copy this much.
            header = _unpack(
                frame[start:],
                ext_hook=_refuse_extension,
                max_array_len=most_items,
                max_map_len=most_items,
            )
        else:
            count = _ItemCount()
            header = _unpack(
                memoryview(frame)[start:],
                ext_hook=_refuse_extension,
                list_hook=count.add_list,
                object_hook=count.add_map,
                max_array_len=most_items,
                max_map_len=most_items,
            )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        text = f"a header that can't be read as msgpack: {type(error).__name__}: {error}"
        raise RemoteProtocolError(text) from error
    if type(header) is not dict:
        text = f"a header is a map, got {shown(header)}"
        raise RemoteProtocolError(text)
    return header


def find_id(packed: Buffer) -> int | None:
    """Return the request id in a header, also in one that is cut off, too large or wrong further on; None without one.

    Args:
        packed: The header's frame without the envelope; only its beginning is read.
    """
    unpacker = msgpack.Unpacker(
        read_size=_SEARCHED_BYTES,
        max_buffer_size=_SEARCHED_BYTES,
        max_array_len=0,
        ext_hook=_refuse_extension,
    )
    unpacker.feed(bytes(packed[:_SEARCHED_BYTES]))
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == "id":
                found = unpacker.unpack()
                return found if type(found) is int and 0 <= found <= _MAX_ID else None
            unpacker.skip()
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        return None
    return None


def _refuse_extension(code: int, data: bytes) -> object:
    del data
    text = f"extension type {code} has no meaning here"
    raise ValueError(text)


class _ItemCount:
    """Counts what is unpacked, as it is unpacked."""

    def __init__(self) -> None:
        self._left = MAX_HEADER_ITEMS

    def add_list(self, items: list[object]) -> list[object]:
        self._take(items)
        return items

    def add_map(self, items: dict[str, object]) -> dict[str, object]:
        self._take(items)
        self._take(items)
        return items

    def _take(self, items: Sized) -> None:
        self._left -= 1 + len(items)
        if self._left < 0:
            text = f"more than {MAX_HEADER_ITEMS} items"
            raise ValueError(text)
