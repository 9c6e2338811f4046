"""The Python types of a message that msgpack has none for: tuples, sets, dates, decimals, UUIDs, large integers.

Owns their extension codes, how each is written and how it is read and checked. Arrays are `message_codec.py`'s. Any
thread.

Tuples and sets are lists whose first item is a mark: they may hold anything, and nest without a reader in a reader.
Dicts keep their keys, of whatever type: numbers stay numbers, where JSON makes text of them.
"""

from __future__ import annotations

import datetime
import re
import struct
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from types import NoneType
from typing import Any

import msgpack

from predictd_proto.errors import LocalProtocolError, RemoteProtocolError


class Code(IntEnum):
    """msgpack's extension types, as they stand in messages: never reused, never renumbered."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    ARRAY = 10
    SCALAR = 11
    CLAIM = 12
    INTEGER = 20
    COMPLEX = 21
    DECIMAL = 22
    UUID = 23
    DATETIME = 24
    DATE = 25
    TIME = 26
    TIMEDELTA = 27


@dataclass(frozen=True, slots=True)
class Marker:
    """The first item of a list that is no list.

    Attributes:
        build: Makes the value of the other items.
    """

    build: Callable[[list[Any]], Any]


_CONTAINERS: tuple[tuple[Code, type[Any]], ...] = (
    (Code.TUPLE, tuple),
    (Code.SET, set),
    (Code.FROZENSET, frozenset),
)
MARKERS: dict[int, Marker] = {code: Marker(container) for code, container in _CONTAINERS}

#: Days, seconds, microseconds.
_TIMEDELTA = struct.Struct("<iii")
_COMPLEX = struct.Struct("<dd")
#: Names of the IANA database. zoneinfo looks for a file of that name, so nothing else may come near it.
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
#: One subclass may say what it is in many ways; the first that fits is taken.
_BASES: tuple[type[Any], ...] = (str, bytes, dict, list)
_NATIVE = frozenset((NoneType, bool, int, float, str, bytes, list, dict, msgpack.ExtType))


def is_native(value: object) -> bool:
    """Whether msgpack writes a value by itself."""
    return type(value) in _NATIVE and not (type(value) is int and _is_large(value))


def plain_of(value: Any) -> Any:  # noqa: PLR0911  (one for each kind of type)
    """Return a value as something that msgpack carries: a plain type, a marked list, or an extension.

    Raises:
        LocalProtocolError: The type can't travel.
    """
    for code, container in _CONTAINERS:
        if isinstance(value, container):
            return [msgpack.ExtType(code, b""), *value]
    for code, kind, write in _LEAVES:
        if isinstance(value, kind):
            return msgpack.ExtType(code, write(value))
    if isinstance(value, int):
        return msgpack.ExtType(Code.INTEGER, _integer_bytes(value)) if _is_large(value) else int(value)
    if isinstance(value, float):
        return float(value)
    for base in _BASES:
        if isinstance(value, base):
            # The subclass's own idea of a conversion isn't asked: an Enum of text has another.
            return base.__str__(value) if base is str else base(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    # kombu's own hook for what JSON doesn't know; Celery's signatures have it.
    reduce = getattr(type(value), "__json__", None)
    if reduce is not None:
        return reduce(value)
    message = (
        f"a {type(value).__module__}.{type(value).__qualname__} can't travel in a message (nothing is ever pickled); "
        "expected arrays, numbers, text, bytes, None, dates, Decimal, UUID, and lists, tuples, sets and dicts of them"
    )
    raise LocalProtocolError(message)


def read_leaf(code: int, data: bytes) -> Any:
    """Return the value of an extension that holds no other.

    Raises:
        RemoteProtocolError: Its type is unknown, or its bytes are none of its values.
    """
    read = _READERS.get(code)
    if read is None:
        message = f"message: unknown extension type {code}; it may come from a newer predictd"
        raise RemoteProtocolError(message)
    try:
        return read(data)
    except (ValueError, TypeError, OverflowError, InvalidOperation, struct.error) as error:
        message = f"message: no {Code(code).name.lower()}: {data[:40]!r} ({error})"
        raise RemoteProtocolError(message) from error


def _is_large(value: int) -> bool:
    return not -(1 << 63) <= value < 1 << 64


def _integer_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _zoned(value: datetime.datetime | datetime.time, text: str) -> bytes:
    key = getattr(value.tzinfo, "key", None)
    zone = key if isinstance(key, str) and _ZONE.fullmatch(key) else ""
    return f"{text} {value.fold} {zone}".encode()


def _datetime_bytes(value: datetime.datetime) -> bytes:
    return _zoned(value, datetime.datetime.isoformat(value))


def _time_bytes(value: datetime.time) -> bytes:
    return _zoned(value, datetime.time.isoformat(value))


def _read_datetime(data: bytes) -> datetime.datetime:
    text, fold, zone = _zone_fields(data)
    value = datetime.datetime.fromisoformat(text).replace(fold=fold)
    if zone is None or value.tzinfo is None:
        return value
    there = value.replace(tzinfo=zone)
    # The two sides' databases may differ about a zone; the offset that was written down is what was meant.
    return there if there.utcoffset() == value.utcoffset() else value


def _read_time(data: bytes) -> datetime.time:
    text, fold, zone = _zone_fields(data)
    value = datetime.time.fromisoformat(text).replace(fold=fold)
    return value if zone is None else value.replace(tzinfo=zone)


def _zone_fields(data: bytes) -> tuple[str, int, zoneinfo.ZoneInfo | None]:
    text, fold, key = data.decode("ascii").split(" ")
    if key and not _ZONE.fullmatch(key):
        message = "no name of a time zone"
        raise ValueError(message)
    try:
        zone = zoneinfo.ZoneInfo(key) if key else None
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        zone = None
    return text, int(fold), zone


_LEAVES: tuple[tuple[Code, type, Callable[[Any], bytes]], ...] = (
    # Before date, which it is one of.
    (Code.DATETIME, datetime.datetime, _datetime_bytes),
    (Code.DATE, datetime.date, lambda value: datetime.date.isoformat(value).encode()),
    (Code.TIME, datetime.time, _time_bytes),
    (
        Code.TIMEDELTA,
        datetime.timedelta,
        lambda value: _TIMEDELTA.pack(value.days, value.seconds, value.microseconds),
    ),
    (Code.DECIMAL, Decimal, lambda value: str(value).encode()),
    (Code.UUID, uuid.UUID, lambda value: value.bytes),
    (Code.COMPLEX, complex, lambda value: _COMPLEX.pack(value.real, value.imag)),
)

_READERS: dict[int, Callable[[bytes], Any]] = {
    Code.INTEGER: lambda data: int.from_bytes(data, "little", signed=True),
    Code.COMPLEX: lambda data: complex(*_COMPLEX.unpack(data)),
    Code.DECIMAL: lambda data: Decimal(data.decode("ascii")),
    Code.UUID: lambda data: uuid.UUID(bytes=data),
    Code.DATETIME: _read_datetime,
    Code.DATE: lambda data: datetime.date.fromisoformat(data.decode("ascii")),
    Code.TIME: _read_time,
    Code.TIMEDELTA: lambda data: datetime.timedelta(*_TIMEDELTA.unpack(data)),
}
