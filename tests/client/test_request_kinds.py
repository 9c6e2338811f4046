"""Questions of a known kind: the frames, the answers and the errors of the ordinary way."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predictd.prediction import Prediction, prediction_of
from predictd.requests.catalogue import Plan
from predictd.requests.output_sizes import MAX_SHAPES
from predictd.requests.request_frames import Question, answer_of, request_frames
from predictd.requests.request_kinds import MAX_KINDS
from predictd_proto.errors import (
    ConfigError,
    LocalProtocolError,
    PredictdError,
    RemoteProtocolError,
    RequestTooLargeError,
)
from predictd_proto.known_replies import KnownReply
from predictd_proto.limits import DEFAULT_LIMITS, Limits
from predictd_proto.messages import PredictResponse
from predictd_proto.metadata import ModelMetadata, SignatureSpec
from predictd_proto.reply_template import ReplyTemplate, run_facts
from predictd_proto.segments import SHARED_TENSOR_BYTES
from predictd_proto.structures import leaf_names
from predictd_proto.tensors import Tensor, TensorSpec
from tests.proto.strategies import laid_out

#: Callers whose requests are never recognised by their bytes.
DESCRIBED = [("", "trace", "", ""), ("", "", "task", ""), ("", "", "", "name")]

DTYPES = ["float32", "float64", "int32", "uint8", "bool", "float16", ">f4", ">i8", "complex64", "U3"]
AT = "ipc:///somewhere"


def plan(dtype: str = "float32", shape: tuple[int | None, ...] = (None, 3), outputs: Any = "y") -> Plan:
    names = leaf_names(outputs)
    spec = SignatureSpec(
        name="serving_default",
        inputs=(TensorSpec("x", dtype, shape),),
        outputs=tuple(TensorSpec(name, "float32", (None, 2)) for name in names),
        input_structure="x",
        output_structure=outputs,
    )
    return Plan(
        ModelMetadata(name="m", version=3, state="ready", signatures=(spec,), default_signature="serving_default"), spec
    )


def made(plan: Plan, question: Question, number: int, limits: Limits = DEFAULT_LIMITS) -> list[bytes] | str:
    """The frames, or the error as text."""
    try:
        return [bytes(frame) for frame in request_frames(plan, question, limits, number, 12.5)]
    except PredictdError as error:
        return f"{type(error).__name__}: {error}"


@st.composite
def questions(draw: st.DrawFn) -> Question:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.sampled_from([(1, 3), (2, 3), (3,), (0, 3), (2, 3, 1), (2, 4), (1, 600, 3), ()])))
    numbers = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 99, shape)
    array = draw(laid_out(np.asarray(numbers).astype(dtype)))
    return Question(
        "m",
        draw(st.sampled_from([array, [array], {"x": array}])) if draw(st.booleans()) else array,
        version=draw(st.sampled_from([None, 1, True, "blue"])),
        signature=draw(st.sampled_from([None, "serving_default"])),
        cast=draw(st.booleans()),
        is_lenient=draw(st.booleans()),
        caller=draw(st.sampled_from([("", "", "", ""), ("batch", "", "", ""), *DESCRIBED])),
    )


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    asked=st.lists(questions(), min_size=1, max_size=6),
    dtype=st.sampled_from(["float32", "int64", "uint8", "bool", "bfloat16"]),
    ids=st.lists(st.sampled_from([0, 200, 1 << 20, 1 << 40]), min_size=6, max_size=6),
)
def test_what_was_asked_before_changes_nothing(asked: list[Question], dtype: str, ids: list[int]) -> None:
    known = plan(dtype)
    for question, number in zip(asked * 2, ids * 2, strict=False):
        assert made(known, question, number) == made(plan(dtype), question, number)


def test_a_question_of_a_known_kind_is_recognised() -> None:
    known = plan()
    question = Question("m", np.ones((1, 3), np.float32))
    assert known.kinds.frame(question, DEFAULT_LIMITS, 1 << 40, 1.0) is None
    made(known, question, 1)
    question.inputs = np.zeros((1, 3), np.float32)
    found = known.kinds.frame(question, Limits(), 1 << 40, 12.5)
    assert [found] == made(plan(), question, 1 << 40)


@pytest.mark.parametrize(
    "limits", [Limits(max_rows=1), Limits(max_header_bytes=90), Limits(max_request_bytes=90), Limits(max_rank=1)]
)
def test_a_known_kind_is_refused_by_a_server_that_takes_less(limits: Limits) -> None:
    known = plan()
    question = Question("m", np.ones((2, 3), np.float32))
    made(known, question, 1)
    with pytest.raises(RequestTooLargeError):
        request_frames(known, question, limits, 1 << 40, 1.0)
    assert made(known, question, 1 << 40) == made(plan(), question, 1 << 40)


@pytest.mark.parametrize("field", [{"version": True}, {"version": 1.0}, {"version": [1]}, {"signature": np.str_("s")}])
def test_what_only_equals_a_known_text_or_number_is_refused_as_ever(field: dict[str, Any]) -> None:
    known = plan()
    array = np.ones((1, 3), np.float32)
    made(known, Question("m", array, version=1), 1)
    made(known, Question("m", array, signature="s"), 1)
    with pytest.raises((ConfigError, LocalProtocolError)):
        request_frames(known, Question("m", array, **field), DEFAULT_LIMITS, 1 << 40, 1.0)


def test_the_memory_of_kinds_is_bounded() -> None:
    known = plan(shape=(None, None))
    for width in range(1, MAX_KINDS * 2):
        made(known, Question("m", np.ones((1, width), np.float32)), 1)
    assert len(known.kinds._kinds) <= MAX_KINDS


def reply(number: int, names: tuple[str, ...] = ("y",), *, version: int = 3, fill: float = 1.0) -> bytes:
    tensors = tuple(Tensor.from_array(name, np.full((2, 2), fill, np.float32)) for name in names)
    facts = run_facts((0.5, 1.5, 0.25), (2, 0, 1, 7), "full")
    kinds = ReplyTemplate("m", version, tensors)
    return kinds.frame(number, 2.0, kinds.of_run(facts), [tensor.data for tensor in tensors])


def read(frame: bytes) -> PredictResponse:
    answer = answer_of([frame], AT)
    assert isinstance(answer, PredictResponse)
    return answer


@pytest.mark.parametrize("outputs", ["y", ["a", "b"], {"one": "a", "more": ["b"]}])
def test_an_answer_of_a_known_kind_reads_as_the_first_one_did(outputs: Any) -> None:
    signature = plan(outputs=outputs)
    names = ("y",) if outputs == "y" else ("a", "b")
    first, second = read(reply(1, names)), read(reply(2, names))
    assert isinstance(second, KnownReply)
    assert signature.reads(first, None)
    assert signature.reads(second, None)
    assert signature.reads(read(reply(3, names)), None)
    predictions = [prediction_of(answer, signature) for answer in (first, second)]
    assert repr(predictions[0]) == repr(predictions[1])
    assert predictions[0].receipt == predictions[1].receipt
    assert str(predictions[0].outputs) == str(predictions[1].outputs)


def answered(plan: Plan, width: int, answer_bytes: int) -> None:
    """Ask for rows of a width; the answer takes so many bytes."""
    question = Question("m", np.ones((2, width), np.float32))
    request_frames(plan, question, DEFAULT_LIMITS, 1, 12.5)
    output = Tensor.from_array("y", np.zeros((answer_bytes // 8, 2), np.float32))
    answer = PredictResponse(id=1, tensors=(output,), receipt=read(reply(1)).receipt)
    assert plan.reads(answer, question.rows, question.shapes)


def test_a_large_answer_makes_requests_of_other_shapes_no_slower() -> None:
    known = plan(shape=(None, None))
    answered(known, 3, 64)
    answered(known, 4, SHARED_TENSOR_BYTES)
    answered(known, 3, 64)
    answered(known, 4, SHARED_TENSOR_BYTES)
    small, large = [Question("m", np.ones((2, width), np.float32)) for width in (3, 4)]
    assert known.kinds.frame(small, DEFAULT_LIMITS, 2, 12.5) is not None
    # Joined without a place for its outputs: never where they were large.
    assert known.kinds.frame(large, DEFAULT_LIMITS, 2, 12.5) is None
    sizes = known.output_sizes
    assert sizes.expected_bytes(None, ((2, 3),), is_large=False) == 0
    assert sizes.expected_bytes(None, ((2, 4),), is_large=False) == SHARED_TENSOR_BYTES
    # Of a shape that was never sent nothing is known; where the input is shared anyway, a guess costs little.
    assert sizes.expected_bytes(None, ((2, 5),), is_large=False) == 0
    assert sizes.expected_bytes(None, ((2, 5),), is_large=True) == SHARED_TENSOR_BYTES


def test_the_memory_of_output_sizes_is_bounded() -> None:
    known = plan(shape=(None, None))
    for width in range(1, MAX_SHAPES * 2):
        answered(known, width, 64)
    assert len(known.output_sizes._seen) <= MAX_SHAPES


def test_an_answer_of_a_known_kind_is_still_compared_with_the_plan() -> None:
    read(reply(1))
    read(reply(1, version=4))
    assert plan().reads(read(reply(2)), None)
    assert not plan().reads(read(reply(2, version=4)), None)
    assert not plan(outputs="z").reads(read(reply(2)), None)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_answer_is_the_same_error_or_answer_whatever_came_before(data: st.DataObject) -> None:
    whole = reply(1 << 40)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cold = tried(bytearray(damaged))  # no bytes: read in the ordinary way
    read(whole)
    read(whole)
    assert tried(bytes(damaged)) == cold


def tried(frame: bytes | bytearray) -> Any:
    try:
        answer = answer_of([frame], AT)
    except PredictdError as error:
        return type(error), str(error)
    if isinstance(answer, PredictResponse):
        tensors = [(item.name, item.dtype, item.shape, bytes(item.data)) for item in answer.tensors]
        return answer.id, tensors, answer.receipt
    return answer


def test_no_frames_are_no_answer() -> None:
    with pytest.raises(RemoteProtocolError):
        answer_of([], AT)


def test_a_prediction_pickles_with_its_receipt_looked_at_or_not() -> None:
    read(reply(1))
    prediction = prediction_of(read(reply(2)), plan())
    for one in (prediction, pickle.loads(pickle.dumps(prediction))):
        assert isinstance(one, Prediction)
        assert one.receipt is one.receipt
        assert one.receipt.execute_ms == 1.5
        assert one.receipt.queued_rows == 7


def test_a_cast_of_what_the_dtype_cannot_hold_is_as_silent_the_second_time() -> None:
    known, question = plan("int32"), Question("m", np.array([[np.nan, np.inf, 1e30]]), cast=True)
    first, *others = (made(known, question, 1) for _ in range(3))
    assert isinstance(first, list)
    assert others == [first, first]
