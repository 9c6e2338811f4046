"""Replies recognised by their bytes: what the ordinary way reads, or nothing."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import PredictdError
from predictd_proto.frames import decode, encode
from predictd_proto.known_replies import MAX_KINDS, MAX_SIZES, KnownReplies, KnownReply
from predictd_proto.messages import PredictResponse, Receipt
from predictd_proto.reply_template import HEAD, ReplyTemplate, run_facts
from predictd_proto.tensors import Tensor

DTYPES = st.sampled_from(["float32", "int64", "uint8", "float16", "complex64", "float64"])
IDS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
TIMES = st.floats(0, 1e9, allow_nan=False)
COUNTS = st.integers(0, (1 << 32) - 1)
REASONS = st.sampled_from(["idle", "full", "gathered", "window", "drain"])


def reply(number: int, tensors: tuple[Tensor, ...], *, model: str = "m", version: int = 3, **facts: Any) -> bytes:
    """A reply as a server joins it."""
    times = facts.get("times", (0.5, 0.25, 1.25, 0.125))
    counts = facts.get("counts", (2, 0, 1, 9))
    run = run_facts(times[1:], counts, facts.get("closed_by", "full"))
    template = ReplyTemplate(model, version, tensors)
    return template.frame(number, times[0], template.of_run(run), [tensor.data for tensor in tensors])


def outputs(
    seed: int = 0, dtypes: tuple[str, ...] = ("float32",), shape: tuple[int, ...] = (2, 3)
) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(seed)
    return tuple(Tensor.from_array(f"t{i}", rng.integers(0, 9, shape).astype(t)) for i, t in enumerate(dtypes))


def decoded(frame: bytes) -> PredictResponse:
    message = decode([frame])
    assert isinstance(message, PredictResponse)
    return message


def taught(*frames: bytes) -> KnownReplies:
    known = KnownReplies()
    for frame in frames:
        known.remember(frame, decoded(frame))
    return known


def check_same(found: KnownReply, expected: PredictResponse) -> None:
    assert (found.id, found.tensors, found.receipt) == (expected.id, expected.tensors, expected.receipt)
    arrays = found.kind.arrays(found.frame)
    assert list(arrays) == [tensor.name for tensor in expected.tensors]
    arrays[""] = found.kind.first_array(found.frame)
    for tensor, got in zip((*expected.tensors, expected.tensors[0]), arrays.values(), strict=True):
        assert got.tobytes() == tensor.view().tobytes()
        assert (got.dtype, got.shape) == (tensor.view().dtype, tensor.shape)
        assert got.flags.owndata
        assert got.flags.writeable


@settings(deadline=None)
@given(
    dtypes=st.lists(DTYPES, min_size=1, max_size=4).map(tuple),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    model=st.text(st.characters(codec="utf-8"), max_size=9),
    version=st.integers(0, (1 << 63) - 1),
    replies=st.lists(
        st.tuples(IDS, st.tuples(TIMES, TIMES, TIMES, TIMES), st.tuples(*[COUNTS] * 4), REASONS, st.integers(0, 3)),
        min_size=2,
        max_size=6,
    ),
)
def test_a_recognised_reply_holds_what_is_decoded(dtypes, shape, model, version, replies) -> None:
    known = KnownReplies()
    seen = set()
    for number, times, counts, reason, seed in replies:
        tensors = outputs(seed, dtypes, shape)
        frame = reply(number, tensors, model=model, version=version, times=times, counts=counts, closed_by=reason)
        expected = decoded(frame)
        found = known.recognise(frame)
        assert (found is not None) == (reason in seen)
        if found is None:
            known.remember(frame, expected)
            seen.add(reason)
            found = known.recognise(frame)
            assert found is not None
        check_same(found, expected)


@settings(deadline=None, max_examples=600)
@given(st.data())
def test_a_reply_with_any_byte_changed_is_recognised_only_as_what_it_decodes_to(data) -> None:
    frame = reply(1 << 40, outputs(0, data.draw(st.sampled_from([("float32",), ("uint8", "float64")]))))
    known = taught(frame)
    changed = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    check_alike(known, bytes(changed))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_reply_that_is_longer_or_shorter_is_recognised_only_as_what_it_decodes_to(data) -> None:
    frame = reply(1 << 40, outputs())
    other = reply(1 << 40, outputs(1, shape=(2, 4)), model="other")
    known = taught(frame, other)
    begin = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(0, len(other)))
    check_alike(known, frame[:begin] + data.draw(st.sampled_from([b"", bytes(8), other])) + other[end:])


def check_alike(known: KnownReplies, frame: bytes) -> None:
    found = known.recognise(frame)
    if found is None:
        return
    try:
        expected = decoded(frame)
    except PredictdError:
        pytest.fail("recognised what can't be decoded")
    check_same(found, expected)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, -float("inf")])
def test_a_time_that_is_none_is_left_to_decode(place: int, value: float) -> None:
    frame = reply(1, outputs())
    times = [0.5] * 4
    times[place] = value
    wrong = reply(1, outputs(), times=tuple(times))
    assert taught(frame).recognise(wrong) is None
    with pytest.raises(PredictdError):
        decode([wrong])


def test_an_id_that_is_none_is_left_to_decode() -> None:
    assert taught(reply(1, outputs())).recognise(reply(1 << 63, outputs())) is None


@pytest.mark.parametrize(
    "frame",
    [
        reply(1, (Tensor.from_array("x", np.array([True, False])),)),
        reply(1, (Tensor.from_array("x", np.array(["words"])),)),
        reply(1, (Tensor("x", "bfloat16", (1,), b"ab"),)),
        bytes(encode(PredictResponse(id=1, tensors=outputs(), receipt=Receipt(model="m", version=3)))[0]),
    ],
    ids=["bool", "string", "bfloat16", "not from a template"],
)
def test_what_must_be_looked_at_each_time_is_not_remembered(frame: bytes) -> None:
    assert taught(frame).recognise(frame) is None


def spliced(frame: bytes, at: int, old: bytes, new: bytes) -> bytes:
    assert frame[at : at + len(old)] == old
    return frame[:at] + new + frame[at + len(old) :]


def test_what_could_be_read_in_two_ways_is_not_remembered() -> None:
    frame = reply(1, outputs())
    wide_version = frame.replace(b"\xa7version\x03", b"\xa7version\xcc\x03")
    unknown_key = spliced(frame, 4, b"\x83", b"\x84").replace(b"\xa7tensors", b"\xa1k\x01\xa7tensors")
    # Behind the tensors, where data could be: an id that wins in msgpack, as the last of two does.
    second_id = spliced(frame, 4, b"\x83", b"\x84") + b"\xa2id\xcf" + struct.pack(">Q", 7)
    assert decoded(second_id).id == 7
    for strange in (wide_version, unknown_key, second_id):
        assert taught(strange).recognise(strange) is None


def test_the_memory_is_bounded() -> None:
    known = KnownReplies()
    for length in range(1, 2 * MAX_SIZES):
        frame = reply(1, (Tensor("x", "uint8", (length,), bytes(length)),))
        known.remember(frame, decoded(frame))
        assert known.recognise(frame) is not None
    for version in range(100, 100 + 3 * MAX_KINDS):
        frame = reply(1, outputs(), version=version % 128)
        known.remember(frame, decoded(frame))
        assert known.recognise(frame) is not None
    assert len(known._kinds) <= MAX_SIZES
    assert max(map(len, known._kinds.values())) <= MAX_KINDS


@pytest.mark.parametrize("frame", [b"", b"pd", b"pd\x01\x04", reply(1, outputs())[: HEAD.size]])
def test_short_frames_are_nothing(frame: bytes) -> None:
    known = taught(reply(1, outputs()))
    assert known.recognise(frame) is None
    known.remember(frame, decoded(reply(1, outputs())))
    assert known.recognise(frame) is None
