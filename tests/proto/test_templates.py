"""The fast ways through the wire give what the ordinary ways give, or nothing."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import PredictdError
from predictd_proto.frames import decode, encode
from predictd_proto.messages import PredictRequest, PredictResponse, Receipt
from predictd_proto.reply_template import ReplyTemplate, fits_template, run_facts
from predictd_proto.request_template import MAX_ENTRIES, RequestTemplates
from predictd_proto.tensors import Tensor

DTYPES = st.sampled_from(["float32", "int64", "uint8", "float16", "complex64", "bool"])
IDS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
TIMES = st.floats(0, 1e9, allow_nan=False)


def tensors_of(dtypes: list[str], shapes: list[list[int]], seed: int) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        Tensor.from_array(f"t{i}", rng.integers(0, 2, shape).astype(dtype))
        for i, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True))
    )


def request(number: int, timeout_ms: float | None, tensor: Tensor, **fields: object) -> bytes:
    message = PredictRequest(id=number, model="m", tensors=(tensor,), timeout_ms=timeout_ms, **fields)  # type: ignore[arg-type]
    return bytes(encode(message)[0])


@settings(deadline=None)
@given(
    dtypes=st.lists(DTYPES, min_size=1, max_size=4),
    lengths=st.lists(st.integers(0, 70), min_size=4, max_size=4),
    numbers=st.lists(st.tuples(IDS, TIMES), min_size=1, max_size=5),
)
def test_a_templated_reply_reads_like_an_encoded_one(dtypes, lengths, numbers) -> None:
    shapes = [[2, lengths[i]] for i in range(len(dtypes))]
    facts: dict[str, Any] = {
        "model": "m",
        "version": 3,
        "execute_ms": 1.25,
        "batch_rows": 2,
        "closed_by": "full",
        "queued_rows": 9,
    }
    template = None
    for seed, (number, queue_ms) in enumerate(numbers):
        tensors = tensors_of(dtypes, shapes, seed)
        receipt = Receipt(queue_ms=queue_ms, **facts)
        template = template or ReplyTemplate("m", 3, tensors)
        expected = PredictResponse(id=number, tensors=tensors, receipt=receipt)
        run = run_facts((receipt.assemble_ms, 1.25, receipt.split_ms), (2, 0, 1, 9), "full")
        frame = template.frame(number, queue_ms, template.of_run(run), [tensor.data for tensor in tensors])
        assert decode([frame]) == decode(encode(expected))


def test_large_replies_and_replies_of_nothing_have_no_template() -> None:
    assert not fits_template([])
    assert not fits_template([8, 40_000])
    assert not fits_template([8] * 16)
    assert fits_template([0, 16384])


@settings(deadline=None)
@given(
    dtype=DTYPES,
    shape=st.lists(st.integers(0, 9), max_size=3),
    numbers=st.lists(st.tuples(IDS, TIMES, st.integers(0, 3)), min_size=1, max_size=6),
    label=st.one_of(st.none(), st.text(max_size=5), st.integers(0, 9)),
)
def test_a_recognised_request_reads_like_a_decoded_one(dtype, shape, numbers, label) -> None:
    templates = RequestTemplates()
    for number, timeout_ms, seed in numbers:
        frame = request(number, timeout_ms, tensors_of([dtype], [shape], seed)[0], version=label)
        message = decode([frame])
        assert isinstance(message, PredictRequest)
        found = templates.recognise(frame)
        if found is None:
            templates.remember(frame, message)
            continue
        known, got_number, got_timeout_ms, data = found
        assert (got_number, got_timeout_ms, data) == (message.id, message.timeout_ms, bytes(message.tensors[0].data))
        assert known.request.version == message.version
        assert known.request.tensors[0].shape == message.tensors[0].shape


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_frame_with_any_byte_changed_is_recognised_only_as_what_it_decodes_to(data) -> None:
    templates = RequestTemplates()
    frame = request(data.draw(st.sampled_from([7, 1 << 40])), 5.0, tensors_of(["float32"], [[1, 3]], 0)[0])
    message = decode([frame])
    assert isinstance(message, PredictRequest)
    templates.remember(frame, message)
    assert templates.recognise(frame) is not None
    changed = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    found = templates.recognise(bytes(changed))
    if found is None:
        return
    try:
        decoded = decode([bytes(changed)])
    except PredictdError:
        pytest.fail("recognised what can't be decoded")
    assert isinstance(decoded, PredictRequest)
    known, number, timeout_ms, raw = found
    assert (number, timeout_ms) == (decoded.id, decoded.timeout_ms)
    assert raw == bytes(decoded.tensors[0].data)
    assert known.request.model == decoded.model
    assert known.request.tensors[0].name == decoded.tensors[0].name


@pytest.mark.parametrize(
    "frame",
    [
        request(1, None, Tensor.from_array("x", np.zeros((1, 3)))),
        request(1, 1.0, Tensor.from_array("x", np.array([True]))),
        request(1, 1.0, Tensor.from_array("x", np.array(["words"]))),
        request(1, 1.0, Tensor.from_array("x", np.zeros((0, 3)))),
        request(1, 1.0, Tensor.from_array("x", np.zeros((1, 3))), task_id="t"),
        request(1, 1.0, Tensor.from_array("x", np.zeros((1, 3))), task_name="t"),
        request(1, 1.0, Tensor.from_array("x", np.zeros((1, 3))), traceparent="t"),
    ],
    ids=["no time", "bool", "string", "no rows", "task", "task name", "trace"],
)
def test_what_must_be_looked_at_each_time_is_not_remembered(frame: bytes) -> None:
    message = decode([frame])
    assert isinstance(message, PredictRequest)
    assert RequestTemplates().remember(frame, message) is None


def strange(*entries: bytes) -> bytes:
    """A frame with these packed keys and values after an id and a time."""
    time = b"\xaatimeout_ms\xcb" + struct.pack(">d", 1.0)
    return b"pd\x01\x03" + bytes([0x82 + len(entries)]) + b"\xa2id\x05" + time + b"".join(entries)


MODEL = b"\xa5model\xa1m"
TENSORS = b"\xa7tensors\x91\x94\xa1x\xa5uint8\x91\x02\xc4\x02"


@pytest.mark.parametrize(
    "frame",
    [
        strange(MODEL, b"\xa2id\x06", TENSORS + b"ab"),
        strange(MODEL, b"\xaatimeout_ms\xc0", TENSORS + b"ab"),
        strange(MODEL, TENSORS + b"ab", TENSORS + b"cd"),
        strange(MODEL, TENSORS + b"ab", b"\xa1k\xc4" + bytes([len(TENSORS) + 2]) + TENSORS + b"cd"),
        strange(TENSORS + b"ab", MODEL),
        strange(MODEL, b"\xa1k\x01", TENSORS + b"ab"),
    ],
    ids=["id twice", "time twice", "tensors twice", "tensors in data", "tensors not last", "unknown key"],
)
def test_what_could_be_read_in_two_ways_is_not_remembered(frame: bytes) -> None:
    message = decode([frame])
    assert isinstance(message, PredictRequest)
    assert RequestTemplates().remember(frame, message) is None


def test_what_is_written_in_another_way_is_recognised_all_the_same() -> None:
    frame = strange(MODEL, TENSORS + b"ab")
    wide_id = frame.replace(b"\xa2id\x05", b"\xa2id\xcf" + bytes(7) + b"\x05")
    templates = RequestTemplates()
    message = decode([wide_id])
    assert isinstance(message, PredictRequest)
    assert templates.remember(wide_id, message) is not None
    for same in (frame, wide_id):
        found = templates.recognise(same)
        assert found is not None
        assert found[1:] == (5, 1.0, b"ab")
    assert templates.recognise(frame.replace(b"\xa2id\x05", b"\xa2id\xcf" + b"\xff" * 8)) is None


def test_the_memory_is_bounded() -> None:
    templates = RequestTemplates()
    for number in range(3 * MAX_ENTRIES):
        frame = request(1, 1.0, Tensor.from_array(f"x{number}", np.zeros((1, 3))))
        message = decode([frame])
        assert isinstance(message, PredictRequest)
        templates.remember(frame, message)
        assert templates.recognise(frame) is not None
    assert len(templates._known) <= MAX_ENTRIES


def test_kinds_whose_frames_are_equally_long_are_told_apart() -> None:
    templates = RequestTemplates()
    frames = {name: request(1 << 40, 1.0, Tensor.from_array(name, np.zeros((1, 3)))) for name in ("a", "b", "c")}
    for frame in frames.values():
        message = decode([frame])
        assert isinstance(message, PredictRequest)
        templates.remember(frame, message)
    for name in ("a", "a", "b", "a", "c", "c", "b"):
        found = templates.recognise(frames[name])
        assert found is not None
        assert found[0].request.tensors[0].name == name


def test_the_memory_of_lengths_is_bounded() -> None:
    templates = RequestTemplates()
    for number in range(1, 2 * MAX_ENTRIES):
        frame = request(1 << 40, 1.0, Tensor.from_array("x", np.zeros((1, number), np.uint8)))
        message = decode([frame])
        assert isinstance(message, PredictRequest)
        templates.remember(frame, message)
        assert templates.recognise(frame) is not None
    assert len(templates._newest) <= MAX_ENTRIES


@pytest.mark.parametrize("frame", [b"", b"pd", b"pd\x01\x03", b"pd\x01\x03\x83\xa2id", b"pd\x01\x03\x83\xa2id\xcf\x00"])
def test_short_frames_are_nothing(frame: bytes) -> None:
    assert RequestTemplates().recognise(frame) is None
