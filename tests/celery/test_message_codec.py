"""Messages of the serializer `predictd`: every value back as it was, every bad message refused."""

from __future__ import annotations

import contextlib
import datetime
import math
import struct
import uuid
import zoneinfo
from collections import OrderedDict
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from predictd_celery.message_codec import MAGIC, decode, encode
from predictd_celery.message_types import Code
from predictd_proto.dtypes import DTYPE_BYTES
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError

ZONES = st.sampled_from([None, datetime.timezone.utc, zoneinfo.ZoneInfo("Europe/Berlin")]) | st.integers(
    -1439, 1439
).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
KEYS = (
    st.text(max_size=8)
    | st.integers()
    | st.booleans()
    | st.none()
    | st.binary(max_size=4)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.tuples(st.integers(), st.text(max_size=3))
)
LEAVES = (
    KEYS
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=ZONES)
    | st.times()
    | st.timedeltas()
    | st.sets(st.integers(), max_size=3)
    | st.frozensets(st.text(max_size=3), max_size=3)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
NUMPY = st.sampled_from([name for name in DTYPE_BYTES if name != "bfloat16"]).flatmap(
    lambda name: arrays.arrays(
        np.dtype(name).newbyteorder("S"), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


def same_types(one: Any, other: Any) -> bool:
    """Whether two trees are equal, types included; `1 == True == 1.0` and `[] == ()` are no proof."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(same_types(a, b) for a, b in zip(one.items(), other.items(), strict=True))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same_types(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@given(TREES)
def test_every_tree_comes_back_with_its_types(tree: Any) -> None:
    assert same_types(decode(encode(tree)), tree)


@given(NUMPY)
def test_every_array_comes_back_bit_for_bit_whatever_its_byte_order(array: np.ndarray) -> None:
    back = decode(encode(array))
    native = array.astype(array.dtype.newbyteorder("="))
    assert (back.dtype, back.shape) == (native.dtype, array.shape)
    assert back.tobytes() == native.tobytes()
    assert back.flags.writeable
    assert back.flags.owndata


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60).reshape(3, 4, 5)[::2, ::-1, 1::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(2), (3, 1000)),
        np.array([1.5, -2.0, np.nan], ml_dtypes.bfloat16),
        np.zeros((0, 4), np.float16),
        np.arange(1 << 17, dtype=np.uint8),
        np.array(7, ">i8"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_unusual_arrays(array: np.ndarray) -> None:
    (back,) = decode(encode([array]))
    assert (back.dtype.name, back.shape) == (array.dtype.name, array.shape)
    np.testing.assert_array_equal(back.astype(np.float64), array.astype(np.float64))


def test_text_in_an_array_comes_back_as_utf_8() -> None:
    back = decode(encode(np.array([["ä", b"\xff"], ["", "x"]], object)))
    assert back.tolist() == [["ä".encode(), b"\xff"], [b"", b"x"]]
    assert decode(encode(np.array(["ab", "c"]))).tolist() == [b"ab", b"c"]


@pytest.mark.parametrize(
    "scalar",
    [np.float32(1.5), np.float64(0.1), np.int64(-3), np.uint8(255), np.bool_(True), np.complex64(1j), np.float16(2)],
    ids=lambda scalar: scalar.dtype.name,
)
def test_numpy_s_scalars_stay_what_they_are(scalar: np.generic) -> None:
    back, key = decode(encode([scalar, {scalar: 1}]))
    assert type(back) is type(scalar)
    assert back == scalar
    assert key == {scalar: 1}


def test_a_bfloat16_scalar_stays_one() -> None:
    assert decode(encode(ml_dtypes.bfloat16(1.5))) == ml_dtypes.bfloat16(1.5)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324])
def test_unusual_floats_bit_for_bit(number: float) -> None:
    assert struct.pack("<d", decode(encode(number))) == struct.pack("<d", number)


@pytest.mark.parametrize(
    "number", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63), -(1 << 63) - 1, 1 << 999]
)
def test_integers_of_any_size(number: int) -> None:
    assert decode(encode([number, -number])) == [number, -number]


def test_subclasses_of_plain_types_travel_as_those() -> None:
    sent = [OrderedDict(a=1), Colour.RED, Level.HIGH, np.str_("x"), np.bytes_(b"y"), bytearray(b"z")]
    back = decode(encode(sent))
    assert back == [{"a": 1}, "red", 3, "x", b"y", b"z"]
    assert [type(item) for item in back] == [dict, str, int, str, bytes, bytes]


def test_text_that_is_no_utf_8_survives() -> None:
    # Paths in tracebacks.
    assert decode(encode("caf\udce9")) == "caf\udce9"


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_comes_twice_stays_the_one_it_was(fold: int) -> None:
    there = zoneinfo.ZoneInfo("Europe/Berlin")
    when = datetime.datetime(2025, 10, 26, 2, 30, fold=fold, tzinfo=there)
    back = decode(encode(when))
    assert (back.fold, back.tzinfo, back.utcoffset()) == (fold, there, when.utcoffset())
    at = decode(encode(datetime.time(2, 30, fold=fold, tzinfo=there)))
    assert (at.fold, at.tzinfo) == (fold, there)


def test_a_zone_that_this_side_knows_otherwise_keeps_its_offset() -> None:
    tree = msgpack.packb(msgpack.ExtType(Code.DATETIME, b"2025-01-01T00:00:00+05:30 0 Europe/Berlin"))
    assert decode(message(tree)).utcoffset() == datetime.timedelta(hours=5, minutes=30)
    tree = msgpack.packb(msgpack.ExtType(Code.DATETIME, b"2025-01-01T00:00:00+05:30 0 No/Such_Zone"))
    assert decode(message(tree)).utcoffset() == datetime.timedelta(hours=5, minutes=30)


def test_an_array_takes_its_bytes_and_few_more() -> None:
    assert len(encode(np.zeros(1000, np.float32))) <= 4000 + 64


@pytest.mark.parametrize(
    "value", [object(), [np.array([object()])], {"x": lambda: None}, np.array(["2020"], "M8[D]"), int]
)
def test_what_can_t_travel_is_refused_by_its_type_and_never_pickled(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"nothing is ever pickled|no form on the wire"):
        encode(value)


def test_a_loop_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(LocalProtocolError, match="no loops"):
        encode(loop)


class Reduced:
    """Says by kombu's hook what it is in a message."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __json__(self) -> Any:
        return self if self.value is None else self.value


@pytest.mark.parametrize(
    "value",
    [(1, (2,)), OrderedDict(a=1), datetime.date(2020, 1, 2), 1 << 70, {1, 2}, Reduced((1,)), np.float32(1), "text"],
    ids=lambda value: type(value).__name__,
)
def test_what_kombu_s_hook_returns_may_be_anything(value: Any) -> None:
    expected = value.value if isinstance(value, Reduced) else value
    assert decode(encode([Reduced(value)])) == [expected]


def test_an_array_may_come_from_kombu_s_hook() -> None:
    np.testing.assert_array_equal(decode(encode(Reduced(np.arange(3)))), np.arange(3))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Reduced(None), "no loops"),
        (memoryview(b"abcdef")[::2], "not C-contiguous"),
        ([msgpack.Timestamp(1)], "send a datetime"),
        ({msgpack.Timestamp(1 << 33, 5): 1}, "send a datetime"),
        (msgpack.Timestamp(1 << 40), "send a datetime"),
    ],
)
def test_what_msgpack_would_refuse_or_take_without_asking_is_refused_in_our_words(value: Any, says: str) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        encode(value)


@pytest.mark.parametrize("data", [b"\xd6\xff", b"\xd7\xff\xc7\x0c\xff"])
def test_bytes_that_look_like_a_timestamp_are_none(data: bytes) -> None:
    value = [data, {"x": (data, {1})}]
    assert decode(encode(value)) == value


# Bad messages.


def message(
    tree: bytes, data: bytes = b"", *, version: int = 1, magic: bytes = MAGIC, tree_bytes: int | None = None
) -> bytes:
    return struct.pack("<8sII", magic, version, len(tree) if tree_bytes is None else tree_bytes) + tree + data


def extension(code: int, data: object) -> bytes:
    packed = data if isinstance(data, bytes) else msgpack.packb(data)
    result: bytes = msgpack.packb(msgpack.ExtType(code, packed))
    return result


CLAIM = ["0" * 64, "float32", [2], 8, 2_000_000_000]
BAD = {
    "empty": (b"", "its head takes 16 bytes, got 0"),
    "short": (b"predictd", "its head takes 16 bytes"),
    "json": (b'{"a": 1, "b": [1, 2, 3]}', "expected b'predictd' at its start"),
    "newer": (message(b"\xc0", version=2), "update predictd here"),
    "tree too long": (message(b"\xc0", tree_bytes=99), "its tree takes 99 bytes, got 1"),
    "no tree": (message(b""), "can't be read"),
    "two trees": (message(b"\xc0\xc0"), "can't be read"),
    "a list that claims more": (message(b"\xdd\xff\xff\xff\xff"), "can't be read"),
    "a map that claims more": (message(b"\xdf\xff\xff\xff\xff"), "can't be read"),
    "bytes that claim more": (message(b"\xc6\xff\xff\xff\xff"), "can't be read"),
    "deep lists": (message(b"\x91" * 5000 + b"\xc0"), "can't be read"),
    "deep tuples": (message((b"\x92" + extension(Code.TUPLE, b"")) * 5000 + b"\xc0"), "can't be read"),
    "a list for a key": (message(b"\x81\x90\xc0"), "can't be read"),
    "a set of lists": (message(b"\x92" + extension(Code.SET, b"") + b"\x90"), "can't be read"),
    "a lonely mark": (message(extension(Code.TUPLE, b"")), "a tuple or set that is none"),
    "a mark in the middle": (message(b"\x92\xc0" + extension(Code.SET, b"")), "a tuple or set that is none"),
    "a mark with data": (message(b"\x91" + extension(Code.TUPLE, b"x")), "unknown extension type 1"),
    "unknown type": (message(extension(99, b"")), "unknown extension type 99"),
    "data without an array": (message(b"\xc0", b"x"), "its arrays take 0 bytes, got 1"),
    "array without data": (message(extension(Code.ARRAY, ["float32", [2], 8])), "more than the 0 bytes"),
    "array with less": (message(extension(Code.ARRAY, ["float32", [2], 4]), b"1234"), "takes 8 bytes, got 4"),
    "the same bytes twice": (message(b"\x92" + extension(Code.ARRAY, ["int8", [2], 2]) * 2, b"ab"), "more than the 2"),
    "array of objects": (message(extension(Code.ARRAY, ["object", [1], 8]), b"12345678"), "unknown dtype 'object'"),
    "dtype no text": (message(extension(Code.ARRAY, [["f4"], [1], 4]), b"1234"), "unknown dtype"),
    "shape no list": (message(extension(Code.ARRAY, ["int8", 1, 1]), b"1"), "a shape of"),
    "negative axis": (message(extension(Code.ARRAY, ["int8", [-1, -1], 1]), b"1"), "a shape of"),
    "axis a bool": (message(extension(Code.ARRAY, ["int8", [True], 1]), b"1"), "a shape of"),
    "too many axes": (message(extension(Code.ARRAY, ["int8", [1] * 33, 1]), b"1"), "a shape of"),
    "huge and empty": (message(extension(Code.ARRAY, ["int8", [0, 1 << 47, 1 << 47], 0])), "beyond any array"),
    "negative size": (message(extension(Code.ARRAY, ["int8", [1], -1])), "size is a whole number"),
    "size missing": (message(extension(Code.ARRAY, ["int8", [1]])), "without dtype, shape and size"),
    "bool of 7": (message(extension(Code.ARRAY, ["bool", [1], 1]), b"\x07"), "0 or 1"),
    "strings cut": (message(extension(Code.ARRAY, ["string", [1], 4]), b"\x09\0\0\0"), "its strings take"),
    "scalar of 3 bytes": (message(extension(Code.SCALAR, b"float32\x00abc")), "takes 4 bytes, got 3"),
    "scalar without dtype": (message(extension(Code.SCALAR, b"")), "unknown dtype"),
    "msgpack's timestamp": (message(msgpack.packb([{"x": msgpack.Timestamp(1)}])), "no type of this layout"),
    "uuid of 3 bytes": (message(extension(Code.UUID, b"abc")), "no uuid"),
    "decimal": (message(extension(Code.DECIMAL, b"1.2.3")), "no decimal"),
    "date": (message(extension(Code.DATE, b"2020-13-01")), "no date"),
    "datetime": (message(extension(Code.DATETIME, b"yesterday 0 ")), "no datetime"),
    "zone with a path": (message(extension(Code.DATETIME, b"2020-01-01T00:00:00 0 ../../etc/passwd")), "no datetime"),
    "time": (message(extension(Code.TIME, b"25:00 0 ")), "no time"),
    "timedelta": (message(extension(Code.TIMEDELTA, struct.pack("<iii", (1 << 31) - 1, 0, 0))), "no timedelta"),
    "complex": (message(extension(Code.COMPLEX, b"abc")), "no complex"),
    "claim of nothing": (message(extension(Code.CLAIM, b"\xc0")), "claim in a message"),
    "claim of a path": (
        message(extension(Code.CLAIM, ["../" * 20 + "etc/passwd", *CLAIM[1:]])),
        "its name is a digest",
    ),
    "claim of a key": (message(extension(Code.CLAIM, ["celery-task-meta-1", *CLAIM[1:]])), "its name is a digest"),
    "claim of another size": (message(extension(Code.CLAIM, [*CLAIM[:2], [3], 8, 1])), "doesn't take the 8 bytes"),
    "claim of no bytes": (message(extension(Code.CLAIM, [*CLAIM[:2], [0], 0, 1])), "its size"),
    "claim of objects": (message(extension(Code.CLAIM, [CLAIM[0], "object", [1], 8, 1])), "unknown dtype"),
    "claim for ever": (message(extension(Code.CLAIM, [*CLAIM[:4], 1 << 60])), "its expiry"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_refused_with_what_is_wrong(name: str) -> None:
    payload, says = BAD[name]
    with pytest.raises(RemoteProtocolError, match=says):
        decode(payload)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    for payload in (data, message(data), message(b"\x91" + data[:50], data[50:])):
        with contextlib.suppress(RemoteProtocolError):
            decode(payload)


@given(TREES, st.data())
def test_no_damage_does_more_than_be_refused(tree: Any, data: st.DataObject) -> None:
    payload = bytearray(encode([tree, np.arange(5, dtype=np.int16), (1, 2), uuid.UUID(int=3), Decimal(1)]))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    for damaged in (bytes(payload), bytes(payload[:cut])):
        with contextlib.suppress(RemoteProtocolError):
            decode(damaged)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: Any) -> None:
    assert decode(kind(encode({"a": (1, 2)}))) == {"a": (1, 2)}


def test_a_payload_that_somebody_has_made_text_of_says_so() -> None:
    with pytest.raises(RemoteProtocolError, match="expected bytes, got text"):
        decode("predictd")
