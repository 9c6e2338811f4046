"""Made-up inputs fit the graph, and answers are compared with sense. No TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_proto.tensors import TensorSpec
from predictd_server.runner import LoadedSignature
from predictd_server.trials.agreement import Tolerance, find_difference
from predictd_server.trials.failing_size import find_failing_size
from predictd_server.trials.probe import Fill, Probe, Probed, find_probe, row_bytes
from predictd_server.trials.recording import Recording
from predictd_server.trials.timing import MOST_RUNS, run_durations_s
from predictd_server.trials.warmup import warm_up

DTYPES = ("bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64", "complex64", "string")


class Checked:
    """A graph made of one check and an answer of ones."""

    kind = "fake"

    def __init__(self, check: Any = lambda *inputs: None) -> None:
        self.check = check
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Any) -> Any:
        self.shapes.append(inputs[0].shape)
        self.check(*inputs)
        return [np.ones(inputs[0].shape[:1], "float32")]

    def close(self) -> None:
        pass


def made_up(found: Probed) -> Probe:
    assert isinstance(found.probe, Probe)
    return found.probe


def refuse_if(condition: Any) -> None:
    if condition:
        text = "out of range"
        raise ValueError(text)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_have_the_dtype_and_shape_asked_for(dtype: str) -> None:
    [array] = find_probe(Checked().run, [TensorSpec("x", dtype, (None, 3, None))], rows=5).inputs
    assert array.dtype == (object if dtype == "string" else np.dtype(dtype))
    assert array.shape == (5, 3, 16)
    assert array.dtype.isnative
    assert array.flags.c_contiguous


def test_a_fixed_axis_0_and_a_scalar_are_left_as_they_are() -> None:
    specs = [TensorSpec("x", "float32", (4, 2)), TensorSpec("flag", "bool", ())]
    assert [array.shape for array in find_probe(Checked().run, specs, rows=9).inputs] == [(4, 2), ()]


def test_ids_stay_within_a_small_vocabulary() -> None:
    spec = [TensorSpec("ids", "int32", (None, 8))]
    assert made_up(find_probe(Checked().run, spec, 4)).fill is Fill.WIDE
    assert made_up(find_probe(Checked(lambda x: refuse_if(x.max() > 4)).run, spec, 4)).fill is Fill.NARROW
    assert made_up(find_probe(Checked(lambda x: refuse_if(x.any())).run, spec, 4)).fill is Fill.ZEROS


def test_floats_that_are_used_as_ids_are_not_negative() -> None:
    found = find_probe(Checked(lambda x: refuse_if((x < 0).any())).run, [TensorSpec("x", "float32", (None, 8))], 4)
    assert made_up(found).fill is Fill.NARROW


def test_free_axes_grow_until_the_graph_fits() -> None:
    found = find_probe(Checked(lambda x: refuse_if(x.shape[1] < 40)).run, [TensorSpec("x", "float32", (None, None))], 2)
    assert made_up(found).free_length == 64


def test_finite_answers_are_preferred() -> None:
    def run(inputs: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return [np.sqrt(inputs[0])]

    assert made_up(find_probe(run, [TensorSpec("x", "float32", (None, 8))], 4)).fill is Fill.NARROW


def test_the_failure_on_zeros_is_told_when_nothing_is_taken() -> None:
    def check(x: Any) -> None:
        text = "zeros" if not x.any() else "others"
        raise ValueError(text)

    with pytest.raises(ValueError, match="zeros"):
        find_probe(Checked(check).run, [TensorSpec("x", "float32", (None, None))], 2)


def test_a_probe_gives_the_same_inputs_again() -> None:
    probe = find_probe(Checked().run, [TensorSpec("x", "float32", (None, 2))], 3).probe
    np.testing.assert_array_equal(probe.inputs(3)[0], probe.inputs(3)[0])
    assert (probe.inputs(3)[0] != probe.inputs(3, seed=1)[0]).all()


def test_a_rows_bytes_count_every_input() -> None:
    specs = [TensorSpec("x", "float32", (None, 2, 3)), TensorSpec("y", "uint8", (None, None))]
    assert row_bytes(specs, free_length=10) == 2 * 3 * 4 + 10


@pytest.mark.parametrize(
    ("expected", "got", "differs"),
    [
        ([1.0, 2.0], [1.0, 2.0001], False),
        ([1.0, 2.0], [1.0, 2.1], True),
        ([0.0, 1000.0], [0.01, 1000.0], False),
        ([np.nan, 1.0], [np.nan, 1.0], False),
        ([np.nan, 1.0], [1.0, np.nan], True),
        ([np.inf, -np.inf], [np.inf, -np.inf], False),
        ([np.inf], [-np.inf], True),
        ([1.0], [np.nan], True),
        ([], [], False),
        ([1.0], [1.0, 1.0], True),
    ],
)
def test_floats_agree_within_the_tolerance(expected: list[float], got: list[float], differs: bool) -> None:
    one, other = np.array(expected, "float32"), np.array(got, "float32")
    assert (find_difference([one], [other], Tolerance.SINGLE) is not None) == differs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([True]), np.array([False])),
        (np.array([b"a"], object), np.array([b"b"], object)),
        (np.array([1.0], "float32"), np.array([1.0], "float64")),
    ],
)
def test_everything_else_must_be_equal(one: Any, other: Any) -> None:
    assert find_difference([one], [one.copy()], Tolerance.SINGLE) is None
    assert find_difference([one], [other], Tolerance.SINGLE) is not None


def test_a_missing_output_is_a_difference() -> None:
    assert find_difference([np.ones(1)], [], Tolerance.HALF) == "1 outputs against 0"


def spec_of(*inputs: TensorSpec) -> SignatureSpec:
    names: list[Any] = [tensor.name for tensor in inputs]
    output = TensorSpec("y", "float32", (None,))
    return SignatureSpec(name="serve", inputs=inputs, outputs=(output,), input_structure=names, output_structure="y")


def loaded(spec: TensorSpec, runner: Checked) -> LoadedSignature:
    return LoadedSignature(spec_of(spec), runner, synthesise=Probe((spec,), Fill.WIDE, 16).inputs)


def test_warm_up_runs_every_size_and_measures_it() -> None:
    runner = Checked()
    durations_s = warm_up(loaded(TensorSpec("x", "float32", (None, 2)), runner), (1, 4, 8))
    assert list(durations_s) == [(1, ((2,),)), (4, ((2,),)), (8, ((2,),))]
    assert all(seconds > 0 for seconds in durations_s.values())
    assert {shape[0] for shape in runner.shapes} == {1, 4, 8}


def test_warm_up_of_a_model_that_takes_nothing_measures_nothing() -> None:
    runner = Checked(lambda x: refuse_if(True))
    assert warm_up(LoadedSignature(spec_of(TensorSpec("x", "string", (None,))), runner), (1, 2)) == {}


def test_warm_up_runs_what_was_recorded_at_every_size_too() -> None:
    runner = Checked()
    signature = loaded(TensorSpec("x", "float32", (None, None)), runner)
    recording = Recording(signature.spec.inputs, (np.ones((3, 5), "float32"),), "warmup.npz")
    warm_up(replace(signature, recordings=(recording,)), (1, 4))
    assert set(runner.shapes) == {(1, 16), (4, 16), (1, 5), (4, 5)}


def test_warm_up_runs_every_length_at_every_size() -> None:
    runner = Checked()
    warm_up(loaded(TensorSpec("x", "float32", (None, None)), runner), (1, 4), lengths=(8, 32))
    assert set(runner.shapes) == {(1, 8), (4, 8), (1, 32), (4, 32)}


def test_a_model_that_raises_while_warming_fails_and_says_with_what() -> None:
    runner = Checked()
    signature = loaded(TensorSpec("x", "float32", (None, None)), runner)
    recording = Recording(signature.spec.inputs, (np.ones((3, 5), "float32"),), "warmup.npz: request 0")
    cold = replace(signature, recordings=(recording,), runner=Checked(lambda x: refuse_if(x.shape[1] == 5)))
    with pytest.raises(
        ModelLoadError,
        match=r"fails with 1 row of what was recorded \(warmup.npz: request 0\): ValueError: out of range",
    ):
        warm_up(cold, (1, 4))


def test_warm_up_says_which_size_is_too_large() -> None:
    runner = Checked(lambda x: refuse_if(x.shape[0] > 4))
    with pytest.raises(ModelLoadError, match=r"runs with 4 rows and fails with 8 rows .*; set max_batch_size = 4"):
        warm_up(loaded(TensorSpec("x", "float32", (None, 2)), runner), (1, 4, 8))


def test_runners_are_timed_in_turns() -> None:
    turns: list[str] = []
    one, other = Checked(lambda x: turns.append("one")), Checked(lambda x: turns.append("other"))
    durations = run_durations_s([one, other], [np.ones(1)], budget_s=60.0)
    assert [len(taken) for taken in durations] == [MOST_RUNS, MOST_RUNS]
    assert turns == ["one", "other"] * (MOST_RUNS + 1)


LADDER = (1, 2, 4, 8)


def test_the_size_at_which_a_graph_fails_is_found_whatever_values_it_takes() -> None:
    spec = TensorSpec("x", "float32", (None, 3))
    small = Checked(lambda x: refuse_if(len(x) > 2 or not x.all()))
    failing = find_failing_size(small.run, [spec], LADDER)
    assert failing is not None
    assert (failing.rows, failing.ran) == (4, 2)
    assert failing.text == "it runs with 2 rows and fails with 4 rows of made-up inputs (x float32[4, 3])"
    assert failing.advice == "set max_batch_size = 2"
    assert str(failing.error) == "out of range"


def test_a_graph_that_takes_many_rows_and_not_one_is_told_as_such() -> None:
    pairs = Checked(lambda x: refuse_if(len(x) < 4))
    failing = find_failing_size(pairs.run, [TensorSpec("x", "float32", (None, 3))], LADDER)
    assert failing is not None
    assert failing.text == "it fails with 1 row and runs with 4 rows of made-up inputs (x float32[1, 3])"
    assert "requests may have 1 row" in failing.advice


def test_values_that_are_right_by_luck_make_no_size() -> None:
    """One row of noise may be in range where more are not: that says nothing of a size."""
    picky = Checked(lambda x: refuse_if(not x.any() or (x == 1).all() or len(x) > 1))
    assert find_failing_size(picky.run, [TensorSpec("x", "float32", (None, 3))], LADDER) is None


def test_one_recorded_row_tells_the_size_too() -> None:
    spec = TensorSpec("x", "int32", (None,))
    small = Checked(lambda x: refuse_if(len(x) > 2 or (x < 1000).any()))
    recording = Recording((spec,), (np.array([1000, 7], "int32"),), "warmup.npz")
    failing = find_failing_size(small.run, [spec], LADDER, (recording,))
    assert failing is not None
    assert failing.text == "it runs with 2 rows and fails with 4 rows of what was recorded (warmup.npz) (x int32[4])"
