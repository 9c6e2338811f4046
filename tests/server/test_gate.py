"""The parity gate: golden samples keep a version from being served that answers otherwise, batched or one by one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from predictd_server.models.gate import check_golden
from predictd_server.models.settings import PAD, ModelSettings
from predictd_server.serving.lengths import Axis, FreeAxes
from predictd_server.serving.served import ServedSignature
from tests.server.sample_models import Call, Computed, bare_file, settings_of, signature, spec_of, write

X = np.arange(14, dtype="float32").reshape(7, 2)


def double(x: Any) -> Any:
    return x * 2


def gate(
    folder: Path, served: ServedSignature | None = None, tolerance: float = 1e-4, **others: ServedSignature
) -> str:
    signatures = {"serve": served or signature(double), **others}
    return check_golden(bare_file(folder), settings_of(folder, tolerance), signatures, "serve")


def refused(folder: Path, served: ServedSignature | None = None, **options: Any) -> str:
    with pytest.raises(ModelLoadError) as caught:
        gate(folder, served, **options)
    text = str(caught.value)
    assert str(folder / "m.golden.npz") in text
    return text


def golden(folder: Path, **arrays: Any) -> Path:
    return write(folder / "m.golden.npz", **(arrays or {"inputs__x": X, "outputs__y": X * 2}))


def test_without_golden_samples_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert gate(tmp_path) == ""


def test_answers_are_compared_in_batches_and_one_by_one(tmp_path: Path) -> None:
    golden(tmp_path)
    served = signature(double)
    assert gate(tmp_path, served) == "passed within 0.0001 (serve: 7 rows batched and one by one)"
    assert isinstance(served.runner, Computed)
    # 7 rows with 4 at most: a full batch, and three rows padded to 4; then each row.
    assert served.runner.rows == [4, 4] + [1] * 7


def test_rows_that_are_never_merged_are_compared_as_one_request(tmp_path: Path) -> None:
    golden(tmp_path)
    served = signature(double, sizes=())
    assert gate(tmp_path, served) == "passed within 0.0001 (serve: 7 rows as one request)"
    assert isinstance(served.runner, Computed)
    assert served.runner.rows == [7]


def test_a_wrong_answer_is_told_by_output_row_and_distance(tmp_path: Path) -> None:
    golden(tmp_path)
    text = refused(tmp_path, signature(lambda x: x * 2 + (x == 10) * np.float32(0.5)))
    assert "model 'm' version 1, signature 'serve', output 'y', row 5 (in batches of up to 4 rows): off by 0.5 " in text
    assert "expected 20, got 20.5" in text
    assert "allowed are 0.00261: the tolerance 0.0001 of the largest, 26" in text
    assert "not served" in text
    assert "larger `tolerance`" in text


def test_answers_that_are_wrong_only_in_a_batch_are_noticed(tmp_path: Path) -> None:
    golden(tmp_path)
    text = refused(tmp_path, signature(lambda x: x * 2 + (len(x) > 1)))
    assert "(in batches of up to 4 rows)" in text


def test_answers_that_are_wrong_only_for_single_rows_are_noticed(tmp_path: Path) -> None:
    golden(tmp_path)
    assert "row 0 (one by one)" in refused(tmp_path, signature(lambda x: x * 2 + (len(x) == 1)))


def test_padding_that_changes_an_answer_is_noticed(tmp_path: Path) -> None:
    golden(tmp_path, inputs__x=X[:3], outputs__y=X[:3] * 2 - np.mean(X[:3]))
    assert "batches" in refused(tmp_path, signature(lambda x: x * 2 - np.mean(x, dtype="float32")))


def test_the_tolerance_is_the_models_own(tmp_path: Path) -> None:
    golden(tmp_path)
    served = signature(lambda x: x * 2 + np.float32(0.1))
    refused(tmp_path, served)
    assert gate(tmp_path, served, tolerance=0.01).startswith("passed within 0.01")


def test_a_graph_that_raises_is_refused(tmp_path: Path) -> None:
    def fail(x: Any) -> Any:
        text = "out of memory"
        raise ValueError(text)

    golden(tmp_path)
    text = refused(tmp_path, signature(fail))
    assert "its inputs in batches of up to 4 rows: model 'm' version 1, signature 'serve' raised " in text
    assert "ValueError: out of memory" in text


def of_any_length(call: Call, length_of_y: int | None = None) -> ServedSignature:
    """A signature whose rows are padded to a length of 4."""
    spec = spec_of({"x": ("float32", (None, None))}, {"y": ("float32", (None, length_of_y))}, "serve")
    settings = ModelSettings(name="m", path=Path("m.keras"), lengths=(4,), unseen_lengths=PAD)
    axes = FreeAxes(followed=((Axis(0, 1), Axis(0, 1)),)) if length_of_y is None else FreeAxes()
    return ServedSignature("m", 1, spec, Computed(call), (1, 4), settings=settings, axes=axes)


def test_rows_are_padded_to_the_models_lengths_and_cut_again(tmp_path: Path) -> None:
    rows = np.arange(6, dtype="float32").reshape(2, 3)
    golden(tmp_path, inputs__x=rows, outputs__y=rows * 2)
    assert gate(tmp_path, of_any_length(double))


def test_a_model_that_takes_padding_for_data_is_noticed(tmp_path: Path) -> None:
    rows = np.arange(6, dtype="float32").reshape(2, 3)
    golden(tmp_path, inputs__x=rows, outputs__y=rows.mean(axis=1, keepdims=True))
    assert "off by 1 " in refused(tmp_path, of_any_length(lambda x: x.mean(axis=1, keepdims=True), 1))


def test_rows_that_the_server_would_refuse_are_told(tmp_path: Path) -> None:
    rows = np.zeros((1, 5), "float32")
    golden(tmp_path, inputs__x=rows, outputs__y=rows)
    assert "axis 1 is 5 long, expected at most 4" in refused(tmp_path, of_any_length(double))


def test_rows_whose_answers_have_other_shapes_are_told(tmp_path: Path) -> None:
    spec = spec_of({"x": ("float32", (None, 2))}, {"y": ("float32", (None, None))}, "serve")
    ragged = ServedSignature("m", 1, spec, Computed(lambda x: np.ones((len(x), int(x.max())), "float32")), (1, 4))
    golden(tmp_path, inputs__x=X[1:3], outputs__y=np.ones((2, 5), "float32"))
    text = refused(tmp_path, ragged)
    assert "its inputs one by one: model 'm' version 1, signature 'serve': output 'y' differs in shape " in text
    assert "from row to row: [3] and [5]" in text


@pytest.mark.parametrize("scheme", ["U", "S"])
def test_strings_are_equal_or_not(tmp_path: Path, scheme: str) -> None:
    strings = ("string", (None,))
    words = np.array(["naïve", "", "b"] if scheme == "U" else ["naive", "", "b"], scheme)
    golden(tmp_path, inputs__x=words, outputs__y=words)
    served = signature(lambda x: x, {"x": strings}, {"y": strings})
    assert "3 rows" in gate(tmp_path, served)
    wrong = signature(lambda x: np.array([b"b"] * len(x), object), {"x": strings}, {"y": strings})
    assert "2 of 3 values differ: expected b'na" in refused(tmp_path, wrong)


@pytest.mark.parametrize(
    ("dtype", "change"),
    [("int64", 1), ("uint8", 1), ("float16", 2.0), ("float64", 1.0), ("complex64", 1j), ("bool", True)],
)
def test_dtypes_that_files_hold(tmp_path: Path, dtype: str, change: Any) -> None:
    x = np.zeros((3, 2), dtype)
    x[1] = 1
    golden(tmp_path, inputs__x=x, outputs__y=x)
    of = {"x": (dtype, (None, 2))}, {"y": (dtype, (None, 2))}
    assert gate(tmp_path, signature(lambda x: x, *of))
    wrong: Call = lambda x: ~x if dtype == "bool" else (x + x.dtype.type(change))  # noqa: E731
    refused(tmp_path, signature(wrong, *of))


@pytest.mark.parametrize("as_float", [True, False])
def test_bfloat16_is_held_as_it_is_or_as_float32(tmp_path: Path, as_float: bool) -> None:
    import ml_dtypes

    x = np.array([[0.5, 1.5]], ml_dtypes.bfloat16)
    held = x.astype("float32") if as_float else x
    golden(tmp_path, inputs__x=held, outputs__y=held)
    of = {"x": ("bfloat16", (None, 2))}, {"y": ("bfloat16", (None, 2))}
    assert gate(tmp_path, signature(lambda x: x, *of))
    assert "off by 0.5" in refused(tmp_path, signature(lambda x: x + ml_dtypes.bfloat16(0.5), *of))


def test_big_endian_samples_are_the_same_numbers(tmp_path: Path) -> None:
    golden(tmp_path, inputs__x=X.astype(">f4"), outputs__y=np.asfortranarray(X * 2))
    assert gate(tmp_path)


def test_another_signature_has_its_name_in_front(tmp_path: Path) -> None:
    golden(tmp_path, half__inputs__x=X, half__outputs__y=X / 2)
    half = signature(lambda x: x / 2, name="half")
    assert gate(tmp_path, half=half) == "passed within 0.0001 (half: 7 rows batched and one by one)"
    golden(tmp_path, inputs__x=X, outputs__y=X * 2, half__inputs__x=X, half__outputs__y=X)
    assert "signature 'half', output 'y', row 6" in refused(tmp_path, half=half)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    one, two = ("float32", (None, 2)), ("int32", (None,))
    golden(
        tmp_path,
        inputs__a=X,
        inputs__b=np.arange(7, dtype="int32"),
        outputs__b=np.arange(7, dtype="int32"),
        outputs__a=X,
    )
    assert gate(tmp_path, signature(lambda a, b: (a, b), {"a": one, "b": two}, {"a": one, "b": two}))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"inputs__x": X}, "the arrays 'outputs/y' are missing"),
        (
            {"x": X, "outputs__y": X},
            "the arrays 'x' are for no tensor of this model and the arrays 'inputs/x' are missing",
        ),
        ({"inputs__x": X, "outputs__y": X, "outputs__z": X}, "'outputs/z' are for no tensor of this model; expected "),
        ({"other__inputs__x": X, "other__outputs__y": X}, "'other/inputs/x', 'other/outputs/y' are for no tensor"),
        (
            {"inputs__x": X.astype("float64"), "outputs__y": X},
            "array 'inputs/x': expected float32[rows, 2], got float64",
        ),
        ({"inputs__x": X, "outputs__y": X.astype("int32")}, "array 'outputs/y': expected float32[rows, 2], got int32"),
        ({"inputs__x": X[:, :1], "outputs__y": X}, "array 'inputs/x': expected float32[rows, 2], got the shape [7, 1]"),
        ({"inputs__x": X[0], "outputs__y": X}, "got the shape [2]"),
        ({"inputs__x": X[:0], "outputs__y": X[:0]}, "array 'inputs/x' has no rows"),
        ({"inputs__x": X, "outputs__y": X[:3]}, "same number of rows in all arrays of a signature; 'inputs/x' has 7, "),
        (
            {"inputs__x": np.zeros((257, 2), "float32"), "outputs__y": np.zeros((257, 2), "float32")},
            "expected at most 256 rows, which are run one by one too; got 257: keep a few",
        ),
        (
            {"inputs__x": np.array([["a"]]), "outputs__y": X},
            "array 'inputs/x': expected float32[rows, 2], got the shape",
        ),
        ({"inputs__x": np.array([["a", "b"]]), "outputs__y": X}, "expected float32[rows, 2], got <U1"),
    ],
)
def test_samples_of_another_model_are_refused(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    golden(tmp_path, **arrays)
    assert expected in refused(tmp_path)


def test_a_file_without_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.golden.npz")
    assert "it holds no arrays; expected 'inputs/x', 'outputs/y'" in refused(tmp_path)


def test_many_wrong_names_are_not_all_listed(tmp_path: Path) -> None:
    golden(tmp_path, **{f"n{number}": 0 for number in range(30)})
    assert re.search(r"and 22 more are for no tensor", refused(tmp_path))
