"""Damaged messages: `decode` returns a valid message or says what is wrong; it never does anything else."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from predictd_proto.errors import PredictdError, ProtocolError, RequestTooLargeError
from predictd_proto.frames import ENVELOPE_BYTES, MESSAGE_TYPES, decode, encode, request_id_of
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, PredictRequest, PredictResponse
from tests.proto.malformed import pack
from tests.proto.samples import MESSAGES, decoded, golden_frames

TIGHT = Limits(max_tensors=3, max_header_bytes=4096, max_request_bytes=30000, max_rank=3, max_rows=4)
MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_answer(frames: list[bytes], error: PredictdError) -> None:
    """See that the refusal can be told to whoever sent the message."""
    assert 0 < len(str(error)) < 10_000
    answer = ErrorResponse.from_error(request_id_of(frames), error)
    assert decode(encode(answer)) == answer


def check_decode(frames: list[bytes], limits: Limits) -> None:
    """Decode, and see that whatever comes out can be used and sent again."""
    try:
        message = decoded(frames, limits)
    except (ProtocolError, RequestTooLargeError) as error:
        check_answer(frames, error)
        return
    again = encode(message)
    assert [bytes(frame) for frame in encode(decoded(again))] == [bytes(frame) for frame in again]
    assert len(repr(message)) > 0
    if isinstance(message, (PredictRequest, PredictResponse)):
        for tensor in message.tensors:
            assert tensor.view().shape == tensor.shape


@st.composite
def damaged(draw: st.DrawFn) -> list[bytes]:
    """A golden message with a few of its bytes or frames changed."""
    frames = [bytearray(frame) for frame in golden_frames(draw(st.sampled_from(sorted(MESSAGES))))]
    for _ in range(draw(st.integers(1, 4))):
        if not frames:
            break
        index = draw(st.integers(0, len(frames) - 1))
        frame = frames[index]
        at = draw(st.integers(0, max(len(frame) - 1, 0)))
        kind = draw(
            st.sampled_from(["set", "flip", "insert", "delete", "cut", "repeat", "drop", "copy", "swap", "add"])
        )
        if kind == "set" and frame:
            frame[at] = draw(st.integers(0, 255))
        elif kind == "flip" and frame:
            frame[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            frame[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "delete":
            del frame[at : at + draw(st.integers(1, 4))]
        elif kind == "cut":
            del frame[at:]
        elif kind == "repeat":
            frame[at:at] = frame[at : at + draw(st.integers(1, 40))]
        elif kind == "drop":
            del frames[index]
        elif kind == "copy":
            frames.insert(index, bytearray(frame))
        elif kind == "swap":
            other = draw(st.integers(0, len(frames) - 1))
            frames[index], frames[other] = frames[other], frames[index]
        else:
            frames.append(bytearray(draw(st.binary(max_size=8))))
    return [bytes(frame) for frame in frames]


@MANY
@given(frames=damaged(), limits=st.sampled_from([Limits(), TIGHT]))
def test_damaged_bytes(frames: list[bytes], limits: Limits) -> None:
    check_decode(frames, limits)


NUMBERS = (
    st.integers(-(1 << 63), (1 << 64) - 1)
    | st.sampled_from([0, 1, -1, 1 << 40, (1 << 48) - 1, 1 << 48, 1 << 62, 1 << 63, (1 << 64) - 1])
    | st.floats()
    | st.sampled_from([float("nan"), float("inf"), -0.0, 1e308])
)
SCALARS = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.sampled_from(
        ["x" * 2000, b"\x02" * 3, "float32", "string", "bool", msgpack.Timestamp(1), msgpack.ExtType(5, b"e")]
    )
)
TREES = st.recursive(
    SCALARS,
    lambda child: (
        st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=4) | st.binary(max_size=2), child, max_size=3)
    ),
    max_leaves=12,
)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return each (container, key) of a tree of lists and maps."""
    found: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            stack.append(node[key])
    return found


@st.composite
def rewritten(draw: st.DrawFn) -> list[bytes]:
    """A golden message with some of its header's values replaced, removed or added: still good msgpack."""
    frames = golden_frames(draw(st.sampled_from(sorted(MESSAGES))))
    header = msgpack.unpackb(frames[0][ENVELOPE_BYTES:])
    for _ in range(draw(st.integers(1, 3))):
        where = places(header)
        if not where:
            break
        node, key = draw(st.sampled_from(where))
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add", "wrap"]))
        if kind == "replace":
            node[key] = draw(TREES)
        elif kind == "remove":
            del node[key]
        elif kind == "wrap":
            node[key] = [node[key]]
        elif isinstance(node, dict):
            node[draw(st.text(max_size=4))] = draw(TREES)
        else:
            node.insert(key, draw(TREES))
    return [frames[0][:ENVELOPE_BYTES] + pack(header), *frames[1:]]


@settings(MANY, max_examples=800)
@given(frames=rewritten(), limits=st.sampled_from([Limits(), TIGHT]))
def test_headers_with_wrong_values(frames: list[bytes], limits: Limits) -> None:
    check_decode(frames, limits)


@MANY
@given(
    number=st.sampled_from([*MESSAGE_TYPES, 0, 11, 255]), tree=TREES, more=st.lists(st.binary(max_size=4), max_size=2)
)
def test_random_msgpack(number: int, tree: Any, more: list[bytes]) -> None:
    check_decode([b"pd\x01" + bytes([number]) + pack(tree), *more], Limits())


@MANY
@given(version=st.integers(0, 3), number=st.integers(0, 12), tail=st.binary(max_size=60))
def test_random_bytes_after_the_marker(version: int, number: int, tail: bytes) -> None:
    check_decode([b"pd" + bytes([version, number]) + tail], Limits())


@MANY
@given(frames=st.lists(st.binary(max_size=40), max_size=4))
@example(frames=[])
@example(frames=[b""])
@example(frames=[b"pd"])
@example(frames=[b"pd\x01\x06"])
def test_random_bytes(frames: list[bytes]) -> None:
    check_decode(frames, Limits())


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_each_cut_of_each_message(name: str) -> None:
    first, *rest = golden_frames(name)
    for length in range(len(first)):
        with pytest.raises(ProtocolError):
            decoded([first[:length], *rest])


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_each_byte_of_each_message_set_to_its_extremes(name: str) -> None:
    first, *rest = golden_frames(name)
    for index in range(len(first)):
        for value in (0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xDF, 0xFF):
            check_decode([first[:index] + bytes([value]) + first[index + 1 :], *rest], Limits())
