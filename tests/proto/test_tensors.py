"""Arrays become tensors and come back: what is accepted, cast, shared and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from predictd_proto.dtypes import DTYPE_BYTES, NUMPY_DTYPES, STRING, is_dtype, wire_dtype
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError
from predictd_proto.tensors import Tensor, TensorSpec, check_data, contiguous_bytes, string_row_offsets

NUMBERS = sorted(NUMPY_DTYPES)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("order", ["<", ">", "="])
def test_any_byte_order_goes_little_endian(dtype: str, order: Any) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(np.dtype(dtype).newbyteorder(order))
    tensor = Tensor.from_array("x", array)
    assert (tensor.name, tensor.dtype, tensor.shape) == ("x", dtype, (2, 2))
    assert tensor.data == array.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    assert tensor.byte_count == 4 * DTYPE_BYTES[dtype]
    assert np.array_equal(tensor.view(), array)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.float32(2.5), [2.5]),
        (np.array(2.5, np.float32), [2.5]),
        (np.arange(6, dtype=np.float32).reshape(2, 3).T, [0, 3, 1, 4, 2, 5]),
        (np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), [0, 1, 2, 3, 4, 5]),
        (np.arange(6, dtype=np.float32)[::-2], [5, 3, 1]),
        (np.broadcast_to(np.float32(7), (3,)), [7, 7, 7]),
        (np.zeros((0, 3), np.float32), []),
    ],
    ids=["scalar", "0-d", "transposed", "fortran", "reversed", "broadcast", "empty"],
)
def test_any_layout(array: Any, expected: list[float]) -> None:
    tensor = Tensor.from_array("x", np.asarray(array))
    assert tensor.shape == np.shape(array)
    assert np.frombuffer(tensor.data, "<f4").tolist() == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_payloads_of_nans_are_kept(dtype: str) -> None:
    size = DTYPE_BYTES[dtype]
    patterns = [0x7F, 0xFF, 0x80]
    raw = b"".join(b"\x01" * (size - 2) + bytes([0xC1, pattern]) for pattern in patterns)
    array = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<"))
    assert Tensor.from_array("x", array).data == raw
    assert Tensor("x", dtype, (3,), raw).array().tobytes() == raw


def test_small_data_is_copied_and_large_data_shared() -> None:
    small, large = np.zeros(4, np.float32), np.zeros(1 << 16, np.float32)
    tensors = Tensor.from_array("s", small), Tensor.from_array("l", large)
    small[0] = large[0] = 1
    assert tensors[0].view()[0] == 0
    assert tensors[1].view()[0] == 1
    assert isinstance(tensors[1].data, memoryview)
    assert tensors[1].byte_count == large.nbytes


def test_read_only_memory_is_fine() -> None:
    for count in (4, 1 << 16):
        array = np.ones(count, np.float32)
        array.flags.writeable = False
        assert np.array_equal(Tensor.from_array("x", array).view(), array)


def test_subclasses_lose_nothing_but_their_class() -> None:
    class Labelled(np.ndarray[Any, Any]):
        pass

    array = np.arange(3, dtype=np.int16).view(Labelled)
    assert np.array_equal(Tensor.from_array("x", array).view(), [0, 1, 2])


@pytest.mark.parametrize("dtype", NUMBERS)
def test_casts(dtype: str) -> None:
    tensor = Tensor.from_array("x", np.array([[0, 1]]), dtype)
    assert tensor.dtype == dtype
    assert tensor.view().dtype == np.dtype(dtype)
    assert tensor.view().tolist() == [[0, 1]]


def test_views_and_arrays() -> None:
    tensor = Tensor("x", "int16", (2,), b"\x01\x00\xfe\xff")
    assert tensor.view().tolist() == [1, -2]
    assert not tensor.view().flags.writeable
    array = tensor.array()
    array[0] = 5
    assert tensor.view().tolist() == [1, -2]
    writable = Tensor("x", "int16", (2,), bytearray(4))
    writable.view()[0] = 7
    assert writable.data == b"\x07\x00\x00\x00"
    assert writable.array().flags.owndata


def test_texts() -> None:
    assert str(Tensor("x", "int8", (2, 3), b"")) == "int8[2, 3]"
    assert str(Tensor("x", "int8", (), b"")) == "int8[]"
    assert str(TensorSpec("x", "float32", (None, 3, None))) == "float32[rows, 3, length]"
    assert str(TensorSpec("x", "uint8", (None, None, None, 3))) == "uint8[rows, a, b, 3]"
    assert TensorSpec("x", "float32", (4, None)).axes == ("4", "length")
    assert len(set(TensorSpec("x", "float32", (None,) * 32).axes)) == 32
    assert str(TensorSpec("x", "int64", ())) == "int64[]"
    assert str(TensorSpec("x", STRING, ())) == "string[]"


class TestStrings:
    @pytest.mark.parametrize(
        "array",
        [
            np.array(["ab", "ü", ""]),
            np.array(["ab", "ü", ""], dtype=object),
            np.array([b"ab", "ü".encode(), b""]),
            np.array([b"ab", "ü", np.str_("")], dtype=object),
            np.array([np.bytes_(b"ab"), "ü", b""], dtype=object),
        ],
        ids=["U", "objects of str", "S", "mixed objects", "numpy's scalars"],
    )
    def test_each_kind_of_array(self, array: np.ndarray[Any, Any]) -> None:
        tensor = Tensor.from_array("x", array)
        assert tensor.dtype == STRING
        assert tensor.data == b"\x02\0\0\0ab" + b"\x02\0\0\0\xc3\xbc" + b"\0\0\0\0"
        assert tensor.view().tolist() == [b"ab", "ü".encode(), b""]

    @pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 1 has no string type of its own")
    def test_numpys_own_string_type(self) -> None:
        kind = np.dtypes.StringDType(na_object=None)
        assert Tensor.from_array("x", np.array(["ab", "ü"], kind)).view().tolist() == [b"ab", "ü".encode()]
        with pytest.raises(LocalProtocolError, match="an element of type NoneType"):
            Tensor.from_array("x", np.array(["ab", None], kind))

    def test_layouts(self) -> None:
        array = np.array([["a", "b"], ["c", "d"]], dtype=object)
        assert Tensor.from_array("x", array.T).view().tolist() == [[b"a", b"c"], [b"b", b"d"]]
        assert Tensor.from_array("x", array[:, ::-1]).view().tolist() == [[b"b", b"a"], [b"d", b"c"]]
        assert Tensor.from_array("x", np.array("one", dtype=object)).view().item() == b"one"
        assert Tensor.from_array("x", np.empty((0, 2), dtype=object)).view().shape == (0, 2)

    def test_arrays_own_their_memory(self) -> None:
        array = Tensor.from_array("x", np.array(["a"])).array()
        assert array.flags.owndata
        array[0] = b"b"

    def test_row_offsets(self) -> None:
        array = np.array([["a", "bb"], ["", "ccc"]], dtype=object)
        assert string_row_offsets(Tensor.from_array("x", array)) == [0, 11, 22]
        assert string_row_offsets(Tensor.from_array("x", array.reshape(4))) == [0, 5, 11, 15, 22]
        assert string_row_offsets(Tensor("x", STRING, (3, 0), b"")) == [0, 0, 0, 0]
        assert string_row_offsets(Tensor("x", STRING, (0, 2), b"")) == [0]

    def test_what_utf8_cant_carry(self) -> None:
        with pytest.raises(LocalProtocolError, match=r"tensor 'x': a string that UTF-8 can't carry.*pass bytes"):
            Tensor.from_array("x", np.array(["\ud800"], dtype=object))

    def test_a_string_of_four_gigabytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from predictd_proto import strings

        class Huge(bytes):
            def __len__(self) -> int:
                return 1 << 32

        monkeypatch.setattr(strings, "_raw", lambda element: element)
        with pytest.raises(LocalProtocolError, match=r"tensor 'x': a string of more than 4294967295 bytes"):
            Tensor.from_array("x", np.array([Huge(b"x")], dtype=object))


class TestRefusals:
    @pytest.mark.parametrize(
        ("array", "text"),
        [
            (np.array([[1], [1, 2]], dtype=object), "got an element of type list. Rows of different lengths"),
            (np.array(["a", None], dtype=object), "got an element of type NoneType"),
            (np.array([1, 2], dtype=object), "nothing is ever pickled"),
            (np.array(["a", bytearray(b"b")], dtype=object), "got an element of type bytearray"),
            (np.zeros(2, "datetime64[s]"), "dtype datetime64[s] has no form on the wire; expected one of bool, int8"),
            (np.zeros(2, [("a", "i4")]), "has no form on the wire"),
            (np.zeros(2, "V4"), "has no form on the wire"),
            (np.zeros(2, np.longdouble), "cast it with astype"),
        ],
        ids=["ragged", "None", "ints", "bytearray", "dates", "records", "void", "long double"],
    )
    def test_dtypes_that_dont_travel(self, array: np.ndarray[Any, Any], text: str) -> None:
        with pytest.raises(LocalProtocolError) as caught:
            Tensor.from_array("x", array)
        assert str(caught.value).startswith("tensor 'x': ")
        assert text in str(caught.value)
        with pytest.raises(LocalProtocolError):
            wire_dtype(array, "x")

    @pytest.mark.parametrize(
        ("array", "dtype", "text"),
        [
            (np.zeros(2), "float8", "unknown dtype 'float8'; expected one of bool"),
            (np.zeros(2), STRING, "float64 can't be cast to string; pass an array of str or bytes"),
            (np.array(["a"]), "float32", "strings can't be cast to float32; pass numbers"),
            (np.array(["a"]), "bfloat16", "strings can't be cast to bfloat16"),
        ],
    )
    def test_casts_that_cant_be(self, array: np.ndarray[Any, Any], dtype: str, text: str) -> None:
        with pytest.raises(LocalProtocolError, match="tensor 'x': ") as caught:
            Tensor.from_array("x", array, dtype)
        assert text in str(caught.value)

    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            ((1, "int8", ()), "field name"),
            (("n" * 1025, "int8", ()), "field name: expected text of at most 1024"),
            (("x", "float", ()), "dtype of tensor 'x'"),
            (("x", None, ()), "dtype of tensor 'x'"),
            (("x", "int8", [1]), "a tuple of at most 32 axes, got a list of 1"),
            (("x", "int8", (1,) * 33), "a tuple of at most 32 axes"),
            (("x", "int8", (True,)), "axes from 0"),
            (("x", "int8", (-1,)), "axes from 0"),
            (("x", "int8", (1 << 48,)), "axes from 0"),
        ],
    )
    def test_specs(self, spec: tuple[Any, Any, Any], text: str) -> None:
        with pytest.raises(LocalProtocolError) as caught:
            TensorSpec(*spec)
        assert text in str(caught.value)


def test_large_bools_are_checked_too() -> None:
    data = bytearray(1 << 17)
    tensor = Tensor("x", "bool", (1 << 17,), bytes(data))
    check_data(tensor)
    data[70_000] = 2
    with pytest.raises(RemoteProtocolError, match="a bool is one byte, 0 or 1"):
        check_data(Tensor("x", "bool", (1 << 17,), bytes(data)))


def test_contiguous_bytes() -> None:
    assert contiguous_bytes(np.arange(3, dtype=np.uint8)) == b"\0\1\2"
    large = np.zeros((2, 1 << 15), np.uint16)
    view = contiguous_bytes(large)
    assert isinstance(view, memoryview)
    assert (view.format, view.ndim, len(view)) == ("B", 1, large.nbytes)


def test_names_of_dtypes() -> None:
    assert wire_dtype(np.zeros(1, "<f4"), "x") == wire_dtype(np.zeros(1, ">f4"), "x") == "float32"
    assert all(is_dtype(name) for name in (*DTYPE_BYTES, STRING))
    assert not any(is_dtype(name) for name in ("object", "float", "int", "", None, 5, b"int8"))
