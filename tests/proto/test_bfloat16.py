"""bfloat16, with and without the package that gives numpy one: the same bytes either way."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from predictd_proto.bfloat16 import bfloat16_dtype
from predictd_proto.tensors import Tensor

NATIVE: Any = bfloat16_dtype()


@pytest.fixture(params=["with ml_dtypes", "without"])
def is_native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    native = request.param == "with ml_dtypes"
    if native and NATIVE is None:
        pytest.skip("ml_dtypes is not installed")
    if not native:
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    bfloat16_dtype.cache_clear()
    yield native
    bfloat16_dtype.cache_clear()


def as_floats(array: np.ndarray[Any, Any]) -> list[float]:
    return [float(value) for value in array.reshape(-1)]


def test_what_comes_back(is_native: bool) -> None:
    tensor = Tensor("x", "bfloat16", (2, 2), struct.pack("<4H", 0x3F80, 0xBF80, 0x7F80, 0x0001))
    view = tensor.view()
    assert view.shape == (2, 2)
    assert view.dtype.name == ("bfloat16" if is_native else "float32")
    assert as_floats(view) == [1.0, -1.0, float("inf"), 2.0**-133]
    assert tensor.array().flags.writeable
    assert tensor.array().flags.owndata


@pytest.mark.usefixtures("is_native")
@pytest.mark.parametrize("shape", [(), (0,), (0, 3)], ids=str)
def test_shapes_of_one_or_no_element(shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape, dtype=np.int64))
    assert Tensor("x", "bfloat16", shape, bytes(2 * count)).view().shape == shape
    assert Tensor.from_array("x", np.zeros(shape, np.float32), "bfloat16").data == bytes(2 * count)


#: float32 bits -> bfloat16 bits: exact, below, at and above the middle (ties to even), into infinity, denormal, zeros.
ROUNDED = {
    0x3F800000: 0x3F80,
    0x3F807FFF: 0x3F80,
    0x3F808000: 0x3F80,
    0x3F808001: 0x3F81,
    0x3F817FFF: 0x3F81,
    0x3F818000: 0x3F82,
    0x3F818001: 0x3F82,
    0x7F7F7FFF: 0x7F7F,
    0x7F7F8000: 0x7F80,
    0x7F7FFFFF: 0x7F80,
    0x7F800000: 0x7F80,
    0xFF800000: 0xFF80,
    0xFF7FFFFF: 0xFF80,
    0x00000001: 0x0000,
    0x00008001: 0x0001,
    0x80000000: 0x8000,
}


@pytest.mark.usefixtures("is_native")
def test_rounding() -> None:
    values = np.array(list(ROUNDED), np.uint32).view(np.float32)
    tensor = Tensor.from_array("x", values, "bfloat16")
    assert np.frombuffer(tensor.data, "<u2").tolist() == list(ROUNDED.values())


@pytest.mark.usefixtures("is_native")
@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000])
def test_a_nan_stays_a_nan_of_its_sign(bits: int) -> None:
    value = np.array([bits], np.uint32).view(np.float32)
    (got,) = struct.unpack("<H", Tensor.from_array("x", value, "bfloat16").data)
    assert got & 0x7F80 == 0x7F80
    assert got & 0x7F
    assert got >> 15 == bits >> 31


@pytest.mark.usefixtures("is_native")
@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2", "u1", "bool", "f2"])
def test_casts_from_other_dtypes(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]], dtype)[:, ::-1]
    tensor = Tensor.from_array("x", array, "bfloat16")
    assert (tensor.dtype, tensor.shape) == ("bfloat16", (2, 2))
    assert as_floats(tensor.view()) == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.skipif(NATIVE is None, reason="ml_dtypes is not installed")
class TestNative:
    def test_bits_are_kept(self) -> None:
        bits = np.arange(1 << 16, dtype=np.uint16)
        array = bits.view(NATIVE)
        tensor = Tensor.from_array("x", array)
        assert tensor.dtype == "bfloat16"
        assert tensor.data == bits.astype("<u2").tobytes()
        assert tensor.view().view(np.uint16).tolist() == bits.tolist()

    def test_layouts(self) -> None:
        array = np.array([[1, 2], [3, 4]], NATIVE)
        assert as_floats(Tensor.from_array("x", array.T).view()) == [1, 3, 2, 4]
        assert as_floats(Tensor.from_array("x", np.array(1.5, NATIVE)).view()) == [1.5]

    def test_big_endian(self) -> None:
        native = np.array([1.5, -2], NATIVE)
        swapped = native.astype(native.dtype.newbyteorder(">"))
        assert Tensor.from_array("x", swapped).data == Tensor.from_array("x", native).data

    def test_casts_to_others(self) -> None:
        array = np.array([1, 0], NATIVE)
        assert Tensor.from_array("x", array, "float32").view().tolist() == [1.0, 0.0]
        assert Tensor.from_array("x", array, "int64").view().tolist() == [1, 0]

    def test_every_rounding_is_that_of_ml_dtypes(self) -> None:
        bits = np.random.default_rng(0).integers(0, 1 << 32, 50_000, np.uint32)
        values = bits.view(np.float32)
        values = values[~np.isnan(values)]
        tensor = Tensor.from_array("x", values, "bfloat16")
        assert np.array_equal(np.frombuffer(tensor.data, "<u2"), values.astype(NATIVE).view(np.uint16))
