"""Messages check themselves: one that exists is valid, and what is wrong is said with the field's name."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, ClassVar

import pytest

from predictd_proto.checks import check_bool, check_number, check_numbers, check_text, check_texts, shown
from predictd_proto.errors import LocalProtocolError
from predictd_proto.frames import MESSAGE_TYPES, encode
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse, Message, PredictRequest, PredictResponse, StatusResponse, Welcome
from predictd_proto.plain import from_plain, to_plain
from predictd_proto.structures import Structure, check_structure, fill_structure, leaf_names
from predictd_proto.tensors import Tensor
from tests.proto.samples import MESSAGES, MODEL, RECEIPT, SIGNATURE, STATUS

TENSOR = Tensor("x", "int8", (1,), b"a")


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_messages_are_frozen_slotted_and_picklable(name: str) -> None:
    message: Any = MESSAGES[name]
    assert not hasattr(message, "__dict__")
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        message.id = 1
    assert pickle.loads(pickle.dumps(message)) == message


WRONG: list[tuple[Message, str, Any]] = [
    (MESSAGES["hello"], "client", None),
    (MESSAGES["hello"], "client", "\ud800"),
    (MESSAGES["welcome"], "limits", None),
    (MESSAGES["welcome"], "models", ["digits"]),
    (MESSAGES["welcome"], "models", tuple(["m"] * 1025)),
    (MESSAGES["predict_request"], "id", 2.0),
    (MESSAGES["predict_request"], "tensors", [TENSOR]),
    (MESSAGES["predict_request"], "tensors", ("x",)),
    (MESSAGES["predict_request"], "tensors", (TENSOR, TENSOR)),
    (MESSAGES["predict_request"], "tensors", (Tensor("n" * 1025, "int8", (), b"a"),)),
    (MESSAGES["predict_request"], "version", b"1"),
    (MESSAGES["predict_request"], "version", 1 << 63),
    (MESSAGES["predict_request"], "task_id", 5),
    (MESSAGES["predict_request"], "task_name", "t" * 257),
    (MESSAGES["predict_request"], "task_name", None),
    (MESSAGES["predict_response"], "receipt", {}),
    (MESSAGES["predict_response"], "tensors", None),
    (MESSAGES["error_response"], "detail", {"a": object()}),
    (MESSAGES["error_response"], "detail", {"a": 1 << 64}),
    (MESSAGES["error_response"], "detail", {1: 2}),
    (MESSAGES["error_response"], "detail", {"a": [0] * 1025}),
    (MESSAGES["error_response"], "detail", {str(key): 0 for key in range(1025)}),
    (MESSAGES["error_response"], "detail", [1]),
    (MESSAGES["metadata_response"], "models", (1,)),
    (MESSAGES["status_response"], "status", None),
]


@pytest.mark.parametrize(("message", "field", "value"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_fields_are_named(message: Any, field: str, value: Any) -> None:
    with pytest.raises(LocalProtocolError, match=f"field {field}") as caught:
        replace(message, **{field: value})
    assert "expected" in str(caught.value)
    assert "got" in str(caught.value)


@pytest.mark.parametrize("field", ["queue_ms", "split_ms", "batch_rows", "queued_rows", "version"])
def test_wrong_numbers_of_a_receipt_are_named(field: str) -> None:
    changes: dict[str, Any] = {field: -1}
    with pytest.raises(LocalProtocolError, match=f"field {field}: .* got -1"):
        replace(RECEIPT, **changes)


def test_whole_numbers_are_durations_too() -> None:
    receipt = replace(RECEIPT, queue_ms=1, execute_ms=2)
    assert receipt.server_ms == 3
    assert RECEIPT.server_ms == 0.75


def test_what_cant_be_packed_is_an_error_of_ours() -> None:
    tensor = Tensor("\ud800", "int8", (1,), b"a")
    with pytest.raises(LocalProtocolError, match="PredictRequest: a field can't travel"):
        encode(PredictRequest(id=1, model="m", tensors=(tensor,)))


def test_structures_are_kept_as_lists() -> None:
    changes: dict[str, Any] = {"input_structure": ("x",), "output_structure": {"a": ("probabilities",)}}
    signature = replace(SIGNATURE, **changes)
    assert signature.input_structure == ["x"]
    assert signature.output_structure == {"a": ["probabilities"]}


def test_long_lists_of_names_are_cut_in_texts() -> None:
    with pytest.raises(LocalProtocolError, match=r"'n63', \.\.\. \(100\)") as caught:
        replace(SIGNATURE, input_structure=[f"n{index}" for index in range(100)])
    assert len(str(caught.value)) < 1000


def test_signatures_are_found_by_name() -> None:
    assert MODEL.signature() is SIGNATURE
    assert MODEL.signature("serving_default") is SIGNATURE
    assert MODEL.signature("other") is None


def test_readiness() -> None:
    assert MODEL.is_ready
    assert not replace(MODEL, state="loading").is_ready
    assert replace(STATUS, state="ready").is_ready
    assert not STATUS.is_ready


@pytest.mark.parametrize("cls", MESSAGE_TYPES.values(), ids=lambda cls: cls.__name__)
def test_each_message_has_plain_fields(cls: type) -> None:
    samples = [message for message in MESSAGES.values() if type(message) is cls]
    for sample in samples:
        assert list(to_plain(sample)) == [item.name for item in fields(cls)]


@pytest.mark.parametrize("name", ["hello", "welcome", "error_response", "metadata_response", "status_response"])
def test_plain_messages_pass_through_json(name: str) -> None:
    plain = json.loads(json.dumps(to_plain(MESSAGES[name])))
    assert from_plain(type(MESSAGES[name]), plain) == MESSAGES[name]


def test_errors_come_back_as_exceptions() -> None:
    message = MESSAGES["error_response"]
    assert isinstance(message, ErrorResponse)
    error = message.error()
    assert (error.code, str(error), error.retry_after_ms) == ("overloaded", "the queue is full", 120)


def test_models_of_both_answers() -> None:
    welcome, status = MESSAGES["welcome"], MESSAGES["status_response"]
    assert isinstance(welcome, Welcome)
    assert isinstance(status, StatusResponse)
    assert from_plain(Welcome, to_plain(welcome)).models == ("digits",)
    assert from_plain(type(STATUS), to_plain(replace(STATUS, models=(MODEL,)))).models == (MODEL,)


def test_no_tensors_are_a_matter_of_the_signature() -> None:
    assert PredictRequest(id=1, model="m", tensors=()).tensors == ()
    assert PredictResponse(id=1, tensors=(), receipt=RECEIPT).tensors == ()


class TestLimits:
    @pytest.mark.parametrize("name", [item.name for item in fields(Limits)])
    @pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "1", 1 << 63])
    def test_wrong_values(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"limit {name}: expected a whole number from 1 to .*, got "):
            Limits(**{name: value})

    def test_the_rank_has_a_bound_of_its_own(self) -> None:
        assert Limits(max_rank=32).max_rank == 32
        with pytest.raises(ValueError, match="limit max_rank: expected a whole number from 1 to 32, got 33"):
            Limits(max_rank=33)


class TestStructures:
    STRUCTURE: ClassVar[Structure] = {"a": ["x", {"b": "y"}], "c": "z"}

    def test_leaves_in_order(self) -> None:
        assert leaf_names(self.STRUCTURE) == ["x", "y", "z"]
        assert leaf_names("x") == ["x"]
        assert leaf_names([]) == []

    def test_filling(self) -> None:
        assert fill_structure(self.STRUCTURE, {"x": 1, "y": 2, "z": 3}) == {"a": [1, {"b": 2}], "c": 3}
        assert fill_structure("x", {"x": 1}) == 1
        with pytest.raises(KeyError, match="'y'"):
            fill_structure(["x", "y"], {"x": 1})

    @pytest.mark.parametrize("depth", [0, 1, 16])
    def test_depths_that_are_fine(self, depth: int) -> None:
        tree: Any = "x"
        for _ in range(depth):
            tree = (tree,)
        assert leaf_names(check_structure(tree)) == ["x"]

    @pytest.mark.parametrize(
        ("structure", "text"),
        [
            (None, "got None"),
            (5, "got 5 (int)"),
            (["x", 1.5], "got 1.5 (float)"),
            ({1: "x"}, "got a dict of 1"),
            ({"a": {"b": b"x"}}, "got b'x' (bytes)"),
        ],
    )
    def test_what_is_none(self, structure: Any, text: str) -> None:
        with pytest.raises(LocalProtocolError) as caught:
            check_structure(structure)
        assert text in str(caught.value)


class TestShown:
    """Values in texts are short and never walked into."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("a", "'a' (str)"),
            ("a" * 61, "'" + "a" * 60 + "'... (str)"),
            (b"\xff", "b'\\xff' (bytes)"),
            (None, "None"),
            (True, "True (bool)"),
            (1.5, "1.5 (float)"),
            (-7, "-7 (int)"),
            pytest.param(10**5000, "a value of type int", id="huge"),
            ([1, 2], "a list of 2"),
            ((), "a tuple of 0"),
            ({"a": 1}, "a dict of 1"),
            (object(), "a value of type object"),
        ],
    )
    def test_forms(self, value: object, text: str) -> None:
        assert shown(value) == text


def test_checks_of_one_and_of_several_agree() -> None:
    for value in ("", "ü" * 4, "x" * 4):
        check_text("name", value, 4)
        check_texts(("a", "b"), ("", value), 4)
    for number in (0, 1.5, 1 << 100):
        check_number("name", number)
        check_numbers(("a", "b"), (0.0, number))
    wrong: object
    for wrong in (None, 5, "x" * 5, "\udcff", b"x"):
        with pytest.raises(LocalProtocolError, match="field b: "):
            check_texts(("a", "b"), ("", wrong), 4)
    for wrong in (True, -1, -0.5, float("nan"), float("inf"), "1", None):
        with pytest.raises(LocalProtocolError, match="field b: "):
            check_numbers(("a", "b"), (0.0, wrong))
    check_bool("name", value=False)
    with pytest.raises(LocalProtocolError, match="field name: expected True or False, got 0"):
        check_bool("name", 0)
