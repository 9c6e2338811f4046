"""What a peer only claims costs nothing: memory stays in proportion to what was sent."""

from __future__ import annotations

import gc
import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from predictd_proto.errors import ProtocolError, RequestTooLargeError
from predictd_proto.frames import decode, encode, request_id_of
from predictd_proto.limits import MAX_AXIS, Limits
from predictd_proto.messages import PredictRequest
from predictd_proto.tensors import Tensor
from tests.proto.malformed import pack, predict

#: Whatever is sent: this much, and a few times the size of the message.
ALWAYS_BYTES = 16 << 20
TIMES = 4

HEADER_BYTES = (2 << 20) - 64
SMALL_BYTES = 32_000


def peak_bytes(call: Callable[[], object]) -> int:
    # Lists by the hundred thousand make the collector look through all that lives, TensorFlow's modules too: for 17 s.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def refuse(frames: list[bytes]) -> None:
    with pytest.raises((ProtocolError, RequestTooLargeError)):
        decode(frames)
    request_id_of(frames)


def header(content: bytes, number: int = 3) -> list[bytes]:
    """A message whose map holds this content under a key that is ignored."""
    return [b"pd\x01" + bytes([number]) + b"\x81\xa1k" + content]


def array_of(count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count)


def filled(item: bytes, size: int, per_list: int = 1000) -> bytes:
    """As many items as fit, in lists of lists that are each within bounds."""
    packed = b"\xdc" + struct.pack(">H", per_list) + item * per_list
    count = min(size // len(packed), 1000)
    return b"\xdc" + struct.pack(">H", count) + packed * count


def many_keys(count: int) -> bytes:
    """Keys of five characters, each with nil."""
    return b"".join([b"\xa5" + f"{number:05x}".encode() + b"\xc0" for number in range(count)])


def deep(opening: bytes, size: int) -> bytes:
    return opening * min(1000, size // len(opening)) + b"\xc0" * 100


BOMBS: dict[str, list[bytes]] = {
    "one list of four billion": header(array_of((1 << 32) - 1)),
    "one map of four billion": header(b"\xdf\xff\xff\xff\xff"),
    "four gigabytes of text": header(b"\xdb\xff\xff\xff\xff"),
    "four gigabytes of data": header(b"\xc6\xff\xff\xff\xff"),
    "four gigabytes of an extension": header(b"\xc9\xff\xff\xff\xff\x05"),
    "nested lists that claim a thousand": header(deep(b"\xdc\x04\x00", SMALL_BYTES)),
    "nested lists that claim as much as was sent": header(
        deep(array_of(HEADER_BYTES), HEADER_BYTES) + bytes(HEADER_BYTES)
    ),
    "nested lists at full depth": header(b"\x91" * 5000),
    "nested maps": header(b"\x81\xa0" * 5000),
    "empty lists": header(filled(b"\x90", HEADER_BYTES)),
    "empty maps": header(filled(b"\x80", HEADER_BYTES)),
    "small maps": header(filled(b"\x81\xa0\xc0", HEADER_BYTES)),
    "small texts": header(filled(b"\xa2xy", HEADER_BYTES)),
    "numbers": header(filled(b"\xcd\x7f\xff", HEADER_BYTES)),
    "empty lists, uncounted": header(filled(b"\x90", SMALL_BYTES, 100)),
    "small maps, uncounted": header(filled(b"\x81\xa0\xc0", SMALL_BYTES, 100)),
    "one map of many keys": header(b"\xdf" + struct.pack(">I", 200_000) + many_keys(200_000)),
    "a huge shape": predict(["x", "float64", [MAX_AXIS, MAX_AXIS, MAX_AXIS], b""]),
    "a huge shape of bools": predict(["x", "bool", [MAX_AXIS], b"\x01"]),
    "a huge shape of strings": predict(["x", "string", [MAX_AXIS], b"\0\0\0\0"]),
    "an empty shape with huge axes": predict(["x", "float64", [0, MAX_AXIS, MAX_AXIS], b""]),
    "as many rows of nothing": predict(["x", "string", [MAX_AXIS, 0], b""]),
    "a header over the limit": [b"pd\x01\x03" + pack({"id": 1, "k": [[]] * 1000}) + bytes(8 << 20)],
}


@pytest.mark.parametrize("frames", BOMBS.values(), ids=BOMBS)
def test_bombs(frames: list[bytes]) -> None:
    assert peak_bytes(lambda: refuse(frames)) < ALWAYS_BYTES + TIMES * len(frames[0])


@pytest.mark.parametrize(
    "name", ["a header over the limit", "a huge shape", "a huge shape of strings", "an empty shape with huge axes"]
)
def test_what_is_refused_unread_costs_next_to_nothing(name: str) -> None:
    assert peak_bytes(lambda: refuse(BOMBS[name])) < 64 << 10


def test_frames_are_not_copied() -> None:
    array = np.ones((1 << 20, 4), np.float32)
    tensor = Tensor.from_array("x", array)
    frames = encode(PredictRequest(id=1, model="m", tensors=(tensor,)))
    # msgpack's own buffer is 256 KiB; in older releases 1 MiB.
    assert peak_bytes(lambda: encode(PredictRequest(id=1, model="m", tensors=(tensor,)))) < 2 << 20
    assert peak_bytes(lambda: decode(frames)) < 64 << 10


def test_bools_are_checked_without_a_copy() -> None:
    frames = encode(PredictRequest(id=1, model="m", tensors=(Tensor("x", "bool", (1, 8 << 20), bytes(8 << 20)),)))
    assert peak_bytes(lambda: decode(frames)) < 64 << 10


def test_strings_are_checked_without_a_copy() -> None:
    frames = encode(PredictRequest(id=1, model="m", tensors=(Tensor("x", "string", (50_000,), bytes(200_000)),)))
    assert peak_bytes(lambda: decode(frames)) < 64 << 10


def test_a_counted_header_within_bounds_is_read() -> None:
    tensors = tuple(Tensor(f"t{index}", "uint8", (16_000,), bytes(16_000)) for index in range(64))
    request = PredictRequest(id=1, model="m", tensors=tensors)
    (frame,) = encode(request)
    assert decode([frame]) == request


def test_more_tensors_than_a_list_usually_holds() -> None:
    tensors = tuple(Tensor(f"t{index}", "uint8", (), b"x") for index in range(1500))
    request = PredictRequest(id=1, model="m", tensors=tensors)
    assert decode(encode(request), Limits(max_tensors=1500)) == request
