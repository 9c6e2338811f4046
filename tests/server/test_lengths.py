"""Rows of any length: padded to few lengths so that they share runs, cut back where that is certain, or refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.dtypes import DTYPE_BYTES, STRING
from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import Tensor, TensorSpec
from predictd_server.models.settings import PAD, REJECT, SERVE, ModelSettings
from predictd_server.runner import LoadedSignature
from predictd_server.serving.assembly import Workspace, assemble
from predictd_server.serving.batch import Batch
from predictd_server.serving.lengths import Axis, FreeAxes
from predictd_server.serving.pending import Part, Pending
from predictd_server.serving.served import ServedSignature
from predictd_server.trials.free_axes import find_free_axes
from tests.server.fake_model import POISON, CoreBench, DoublingRunner, doubling_spec, rows, served

Graph = Callable[..., Sequence[np.ndarray[Any, Any]]]
LENGTHS = (4, 8, 16)


class GraphRunner(DoublingRunner):
    """Runs a function of arrays and keeps the shapes it was run with."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.shapes: list[tuple[tuple[int, ...], ...]] = []

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        super().run(inputs)
        self.shapes.append(tuple(array.shape for array in inputs))
        return list(self.graph(*inputs))


def spec_of(inputs: Sequence[tuple[int | None, ...]], outputs: Sequence[tuple[int | None, ...]]) -> SignatureSpec:
    spec = doubling_spec(*inputs)
    made = tuple(TensorSpec(f"y{i}", "float32", shape) for i, shape in enumerate(outputs))
    return replace(spec, outputs=made, output_structure=[tensor.name for tensor in made])


def loaded(spec: SignatureSpec, graph: Graph) -> LoadedSignature:
    def synthesise(rows: int, seed: int = 0, length: int | None = None) -> list[np.ndarray[Any, Any]]:
        del seed
        shapes = [(rows, *(length or 16 if axis is None else axis for axis in it.shape[1:])) for it in spec.inputs]
        return [np.ones(shape, np.float32) for shape in shapes]

    return LoadedSignature(spec, GraphRunner(graph), synthesise=synthesise)


def bench_of(
    spec: SignatureSpec, graph: Graph, unseen: str = PAD, lengths: tuple[int, ...] = LENGTHS, **more: Any
) -> tuple[CoreBench, GraphRunner]:
    bench = CoreBench(max_batch_size=8, max_rows=10_000)
    runner = GraphRunner(graph)
    model = served(spec, runner, 8)
    set_for_model = ModelSettings(name="m", path=Path(), lengths=lengths, unseen_lengths=unseen, **more)
    axes = find_free_axes(loaded(spec, graph), lengths) if unseen == PAD else FreeAxes()
    signature = replace(model.signatures["serve"], settings=set_for_model, axes=axes)
    bench.registry.put(replace(model, signatures={"serve": signature}))
    return bench, runner


def twice(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array * 2 for array in arrays]


def test_rows_of_different_lengths_share_a_run_and_get_their_own_lengths_back() -> None:
    bench, runner = bench_of(spec_of([(None, None)], [(None, None)]), twice)
    for number, length in enumerate((5, 8, 7, 6)):
        bench.send(number, rows(1, number, length))
    assert bench.run_all() == 1
    assert runner.shapes == [((4, 8),)]
    for number, length in enumerate((5, 8, 7, 6)):
        np.testing.assert_array_equal(bench.outputs(number)[0], rows(1, number, length) * 2)
    assert bench.counters.unseen_shapes_total == 0


@settings(deadline=None, max_examples=80)
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 11), st.integers(0, 16), st.integers(0, 16), st.integers(0, 16)),
        min_size=1,
        max_size=16,
    ),
    poisoned=st.integers(0, 30),
    pad_value=st.sampled_from([0.0, -1.5, float("nan")]),
)
def test_whatever_is_padded_merged_and_cut_each_caller_gets_its_own_rows(
    shapes: list[tuple[int, int, int, int]], poisoned: int, pad_value: float
) -> None:
    spec = spec_of([(None, None), (None, None, 2, None)], [(None, None), (None, None, 2, None)])
    bench, runner = bench_of(spec, twice, pad_value=pad_value)
    sent = {}
    for number, (count, *lengths) in enumerate(shapes):
        pair = (
            rows(count, 1000.0 * number + 1000, lengths[0]),
            np.random.default_rng(number).random((count, lengths[1], 2, lengths[2]), np.float32),
        )
        if number == poisoned and lengths[0]:
            pair[0][count // 2, -1] = POISON
        sent[number] = pair
        bench.send(number, *pair)
    bench.run_all()
    for number, pair in sent.items():
        if number == poisoned and pair[0].size:
            assert bench.error(number).code == "prediction_failed"
            continue
        for output, array in zip(bench.outputs(number), pair, strict=True):
            np.testing.assert_array_equal(output, array * 2)
    for one, other in runner.shapes:
        assert {one[1], other[1], other[3]} <= set(LENGTHS)


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from([*DTYPE_BYTES, STRING]),
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    counts=st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_every_dtype_is_padded_at_its_axes_ends(dtype: str, lengths: list[int], counts: list[int]) -> None:
    random = np.random.default_rng(len(lengths))
    set_for_model = ModelSettings(name="m", path=Path(), lengths=(4,), unseen_lengths=PAD, pad_value=1.0)
    spec = doubling_spec((None, None, 3), dtype=dtype)
    signature = ServedSignature("m", 1, spec, DoublingRunner(), (1, 2, 4, 16), set_for_model)
    parts, expected = [], []
    for length, count in zip(lengths, counts, strict=False):
        numbers = random.integers(0, 2, (count, length, 3))
        array = (
            np.array([b"%d" % n for n in numbers.flat], object).reshape(numbers.shape) if dtype == STRING else numbers
        )
        tensor = Tensor.from_array("x0", array, dtype)
        request = Pending(b"p", 1, signature, (tensor,), count, len(tensor.data), 0.0, 1.0)
        parts.append(Part(request, 0, count))
        padded = np.full((count, 4, 3), b"" if dtype == STRING else 1, array.dtype)
        padded[:, :length] = array
        expected.append(padded)
    count = sum(part.rows for part in parts)
    batch = Batch(signature, parts, count, 16, ((4, 3),), "idle", 0.0)
    (made,) = assemble(batch, Workspace())
    wanted = np.concatenate([*expected, np.repeat(expected[-1][-1:], 16 - count, axis=0)])
    assert made.shape == (16, 4, 3)
    got = made if dtype == STRING else made.astype(np.complex128)
    np.testing.assert_array_equal(got, wanted)


def test_texts_are_padded_with_empty_ones_and_come_back_as_they_were() -> None:
    spec = doubling_spec((None, None), dtype="string")
    bench = CoreBench(max_batch_size=4)
    model = served(spec, GraphRunner(lambda texts: [texts]), 4)
    set_for_model = ModelSettings(name="m", path=Path(), lengths=(2, 4), unseen_lengths=PAD)
    axes = FreeAxes(followed=((Axis(0, 1), Axis(0, 1)),))
    signature = replace(model.signatures["serve"], settings=set_for_model, axes=axes)
    bench.registry.put(replace(model, signatures={"serve": signature}))
    texts = [np.array([[b"a", "groß".encode(), b""]], object), np.array([[b"d", b"e", b"f", b"g"]] * 2, object)]
    for number, array in enumerate(texts):
        bench.send(number, array)
    assert bench.run_all() == 1
    for number, array in enumerate(texts):
        assert bench.outputs(number)[0].tolist() == array.tolist()


def test_a_longer_row_than_all_lengths_is_refused_with_the_lengths_there_are() -> None:
    bench, _ = bench_of(spec_of([(None, None)], [(None, None)]), twice)
    bench.send(1, rows(1, width=17))
    error = bench.error(1)
    assert error.code == "tensor_mismatch"
    assert all(text in error.message for text in ("'x0'", "axis 1 is 17 long", "at most 16", "4, 8, 16"))
    assert bench.counters.requests_refused_total == 1


def test_rejected_lengths_are_named_with_those_that_are_allowed() -> None:
    bench, runner = bench_of(spec_of([(None, None)], [(None, None)]), twice, REJECT)
    bench.send(1, rows(1, width=5))
    error = bench.error(1)
    assert error.code == "tensor_mismatch"
    assert "one of 4, 8, 16" in error.message
    bench.send(2, rows(1, width=8))
    bench.run_all()
    assert bench.outputs(2)[0].shape == (1, 8)
    assert runner.shapes == [((1, 8),)]


def test_served_lengths_that_nobody_prepared_for_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bench, runner = bench_of(spec_of([(None, None)], [(None, None)]), twice, SERVE)
    with caplog.at_level(logging.WARNING):
        for number, width in enumerate((5, 5, 8, 6, 5)):
            bench.send(number, rows(1, width=width))
            bench.run_all()
    assert bench.counters.unseen_shapes_total == 2
    assert [record.message.count("new shape") for record in caplog.records] == [1, 1]
    assert "[5]" in caplog.text
    assert len(runner.shapes) == 5


def test_without_lengths_shapes_are_counted_and_the_log_advises_once(caplog: pytest.LogCaptureFixture) -> None:
    bench, _ = bench_of(spec_of([(None, None)], [(None, None)]), twice, SERVE, lengths=())
    with caplog.at_level(logging.WARNING):
        for number in range(60):
            bench.send(number, rows(1, width=number % 30 + 1))
            bench.run_all()
    assert bench.counters.unseen_shapes_total == 30
    assert len(caplog.records) == 1
    assert "set lengths" in caplog.text


def test_inputs_that_must_agree_are_refused_when_only_their_padding_would_agree() -> None:
    bench, _ = bench_of(spec_of([(None, None), (None, None)], [(None, None)]), lambda ids, mask: [ids * mask])
    bench.send(1, rows(1, width=5), rows(1, width=7))
    error = bench.error(1)
    assert error.code == "tensor_mismatch"
    assert "'x0' axis 1 is 5 long" in error.message
    assert "'x1' axis 1 is 7 long" in error.message
    bench.send(2, rows(1, width=5), rows(1, width=5))
    bench.run_all()
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(1, width=5) ** 2)


def test_a_padding_that_an_input_can_not_hold_is_refused_at_load() -> None:
    spec = doubling_spec((None, None), dtype="int32")
    set_for_model = ModelSettings(name="m", path=Path(), lengths=(4,), unseen_lengths=PAD, pad_value=0.5)
    with pytest.raises(ModelLoadError, match=r"pad_value = 0\.5 is no int32"):
        ServedSignature("m", 1, spec, DoublingRunner(), (1,), set_for_model)


def test_a_model_that_never_merges_is_padded_too() -> None:
    spec = spec_of([(3, None)], [(3, None)])
    bench, runner = bench_of(spec, twice)
    bench.send(1, rows(3, width=5))
    bench.send(2, rows(3, 7, width=8))
    assert bench.run_all() == 2
    assert runner.shapes == [((3, 8),)] * 2
    np.testing.assert_array_equal(bench.outputs(1)[0], rows(3, width=5) * 2)
    np.testing.assert_array_equal(bench.outputs(2)[0], rows(3, 7, width=8) * 2)


FREE = (None, None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "graph", "expected"),
    [
        ([FREE], [FREE], twice, FreeAxes(followed=((Axis(0, 1), Axis(0, 1)),))),
        ([FREE], [(None, 1)], lambda x: [x.sum(1, keepdims=True)], FreeAxes()),
        (
            [FREE, FREE],
            [FREE],
            lambda x, mask: [x * mask],
            FreeAxes(agreeing=((Axis(0, 1), Axis(1, 1)),), followed=((Axis(0, 1), Axis(0, 1)),)),
        ),
        ([FREE], [FREE], lambda x: [x[:, ::2]], FreeAxes(uncertain=(Axis(0, 1),))),
        ([FREE], [FREE], lambda x: [x[:, :10]], FreeAxes(uncertain=(Axis(0, 1),))),
        ([FREE, FREE], [FREE], lambda x, y: [np.concatenate([x, y], 1)], FreeAxes(uncertain=(Axis(0, 1),))),
        (
            [FREE, FREE],
            [(None, None, None)],
            lambda x, y: [x[:, :, None] * y[:, None]],
            FreeAxes(followed=((Axis(0, 1), Axis(0, 1)), (Axis(0, 2), Axis(1, 1)))),
        ),
        (
            [FREE, FREE, FREE, FREE],
            [FREE, FREE],
            lambda a, b, c, d: [a + b, c + d],
            FreeAxes(
                agreeing=((Axis(0, 1), Axis(1, 1)), (Axis(2, 1), Axis(3, 1))),
                followed=((Axis(0, 1), Axis(0, 1)), (Axis(1, 1), Axis(2, 1))),
            ),
        ),
        ([FREE], [FREE], lambda x: [x.reshape(len(x), 2, -1).sum(1)], FreeAxes(uncertain=(Axis(0, 1),))),
    ],
    ids=["same", "pooled", "mask", "strided", "limited", "concat", "outer", "two pairs", "folded"],
)
def test_what_runs_show_of_a_graphs_axes(
    inputs: list[tuple[int | None, ...]], outputs: list[tuple[int | None, ...]], graph: Graph, expected: FreeAxes
) -> None:
    assert find_free_axes(loaded(spec_of(inputs, outputs), graph), LENGTHS) == expected


def test_a_graph_that_takes_one_length_only_tells_nothing() -> None:
    def picky(x: np.ndarray) -> list[np.ndarray]:
        assert x.shape[1] == 8
        return [x]

    assert find_free_axes(loaded(spec_of([FREE], [FREE]), picky), LENGTHS) == FreeAxes()
