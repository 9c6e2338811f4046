"""Whether two requests of a task ask the same: bit for bit, wherever they differ and wherever their bytes lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.tensors import Buffer, Tensor
from predictd_server.serving import task_question
from predictd_server.serving.calling_task import CallingTask
from predictd_server.serving.pending import Pending
from predictd_server.serving.served import ServedSignature
from predictd_server.serving.task_question import WHOLE_BYTES, TaskQuestion, question_of
from tests.server.fake_model import CoreBench

SIGNATURE = CoreBench((None,)).registry.find("m", None, None)

#: Around the sizes at which the look at some bytes, and the comparison, change.
SIZES = [0, 1, 5, 1000, WHOLE_BYTES, WHOLE_BYTES + 1, (1 << 16) - 1, 1 << 16, (1 << 17) + 3]


def question(
    data: bytes, *, as_view: bool = False, shape: tuple[int, ...] | None = None, task_id: str = "t"
) -> TaskQuestion:
    tensor = Tensor("x0", "uint8", shape or (len(data),), memoryview(bytearray(data)) if as_view else data)
    found = question_of(pending((tensor,), task_id))
    assert found is not None
    return found


def pending(tensors: tuple[Tensor, ...], task_id: str = "t", signature: ServedSignature = SIGNATURE) -> Pending:
    task = CallingTask(task_id, "shop.digit", "celery", "")
    byte_count = sum(len(tensor.data) for tensor in tensors)
    return Pending(b"p", 1, signature, tensors, 1, byte_count, 0.0, 1.0, None, task)


@settings(deadline=None, max_examples=200)
@given(size=st.sampled_from(SIZES), data=st.data(), are_views=st.tuples(st.booleans(), st.booleans()))
def test_questions_are_equal_where_all_bytes_are(size: int, data: st.DataObject, are_views: tuple[bool, bool]) -> None:
    first = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    changed = bytearray(first)
    places = data.draw(st.lists(st.integers(0, size - 1), max_size=2, unique=True)) if size else []
    for place in places:
        changed[place] ^= data.draw(st.integers(1, 255))
    questions = [question(each, as_view=view) for each, view in zip((first, bytes(changed)), are_views, strict=True)]
    assert (questions[0] == questions[1]) == (not places)
    assert (questions[1] in {questions[0]: None}) == (not places)


def bordered(shape: tuple[int, ...], dtype: str, number: int) -> np.ndarray[Any, Any]:
    """Return one of many images of one size, each with the same border."""
    image = np.full(shape, 255, dtype)
    height, width = shape[0] * 2 // 3, shape[1] * 2 // 3
    inner = np.random.default_rng(number).integers(0, 256, (height, width, *shape[2:]))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    image[top : top + height, left : left + width] = inner
    return image


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((64, 64, 3), "uint8"), ((257, 49), "uint8"), ((144, 89), "float32"), ((224, 224, 3), "uint8")],
    ids=str,
)
def test_images_of_one_task_with_the_same_border_are_told_apart_without_a_comparison(
    shape: tuple[int, ...], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = count_comparisons(monkeypatch)
    bench = CoreBench((None, *shape), dtype=dtype, max_bytes=1 << 30, max_batch_bytes=1 << 30)
    images = [bordered(shape, dtype, number)[None] for number in range(256)]
    for number, image in enumerate(images):
        bench.send(number, image, task_id="t")
    assert (len(compared), bench.counters.requests_joined_total) == (0, 0)
    bench.send(1000, images[100], task_id="t")
    assert (len(compared), bench.counters.requests_joined_total) == (1, 1)


def test_of_inputs_that_are_hardly_told_apart_each_is_compared_with_one_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = count_comparisons(monkeypatch)
    bench = CoreBench((None, 20_000), max_bytes=1 << 30)
    for number in range(100):
        one_hot = np.zeros((1, 20_000), np.float32)
        one_hot[0, 200 * number] = 1
        bench.send(number, one_hot, task_id="t")
    assert 0 < len(compared) < 100
    bench.run_all()
    for number in range(100):
        assert bench.outputs(number)[0][0, 200 * number] == 2


def count_comparisons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    compared: list[int] = []
    is_equal = task_question._is_equal

    def counted(data: Buffer, other: Buffer) -> bool:
        compared.append(len(data))
        return is_equal(data, other)

    monkeypatch.setattr(task_question, "_is_equal", counted)
    return compared


def test_shape_task_signature_and_every_input_count() -> None:
    other = CoreBench((None,)).registry.find("m", None, None)
    assert question(b"abcd") == question(b"abcd")
    assert question(b"abcd") != question(b"abcd", shape=(2, 2))
    assert question(b"abcd") != question(b"abcd", task_id="u")
    assert question(b"abcd") != "abcd"
    tensor = Tensor("x0", "uint8", (2,), b"ab")
    assert question_of(pending((tensor,))) != question_of(pending((tensor,), signature=other))
    pairs = [(tensor, Tensor("x1", "uint8", (2,), last)) for last in (b"cd", b"cd", b"ce")]
    first, same, differs = (question_of(pending(pair)) for pair in pairs)
    assert first == same != differs


def test_where_there_is_no_task_or_too_much_there_is_no_question() -> None:
    tensor = Tensor("x0", "uint8", (2,), b"ab")
    request = pending((tensor,))
    assert question_of(request) is not None
    request.byte_count = task_question.MOST_BYTES + 1
    assert question_of(request) is None
    assert question_of(pending((tensor,), task_id="")) is None
    request = pending((tensor,))
    request.task = None
    assert question_of(request) is None
