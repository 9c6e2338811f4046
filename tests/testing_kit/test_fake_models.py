"""What a test says of a model is what its clients get to see, and nothing else is ever answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeSignature, WrongAnswerError, in_process
from predictd.testing.shelf import Shelf
from predictd_proto.dtypes import DTYPE_BYTES
from tests.testing_kit.conftest import ROWS, double, doubling

SCORES = ("float32", (None, 10))
PIXELS = ("float32", (None, 64))
TWO_SCORES = {"a": SCORES, "b": SCORES}


def ask(model: FakeModel, x: Any) -> Any:
    with in_process(model):
        return predictd.RemoteModel(model.name).predict(x)


def test_without_an_answer_it_is_zeros_of_the_right_shape() -> None:
    model = FakeModel("digits", inputs={"pixels": PIXELS}, outputs={"scores": SCORES, "words": ("string", (None, 2))})
    answer = ask(model, np.ones((3, 64)))
    assert answer["scores"].tolist() == np.zeros((3, 10)).tolist()
    assert answer["words"].tolist() == [[b"", b""]] * 3


def test_one_row_answers_every_row() -> None:
    model = FakeModel("digits", inputs=PIXELS, outputs=("float32", (None, 3)), answer=[0.1, 0.2, 0.7])
    assert ask(model, np.ones((4, 64))).tolist() == np.array([[0.1, 0.2, 0.7]] * 4, np.float32).tolist()


def test_all_rows_may_be_given() -> None:
    model = FakeModel("digits", inputs=PIXELS, outputs=("int64", (None,)), answer=[7, 8])
    assert ask(model, np.ones((2, 64))).tolist() == [7, 8]


def test_a_function_and_an_example_make_a_model() -> None:
    def mean_and_rows(given: dict[str, Any]) -> dict[str, Any]:
        return {"mean": given["left"].mean(axis=1), "both": [given["left"], given["right"]]}

    example = {"left": np.ones((1, 4), "float32"), "right": np.ones((1, 2), "int32")}
    model = FakeModel.from_function(mean_and_rows, example)
    assert repr(model) == (
        "<FakeModel 'mean_and_rows' version 1: left float32[rows, 4], right int32[rows, 2] -> "
        "mean float32[rows], both_0 float32[rows, 4], both_1 int32[rows, 2]>"
    )
    answer = ask(model, {"left": ROWS, "right": np.ones((3, 2), "int32")})
    assert answer["mean"].tolist() == ROWS.mean(axis=1).tolist()
    assert answer["both"][0].tolist() == ROWS.tolist()


def test_nests_are_as_declared() -> None:
    model = FakeModel(
        "nested",
        inputs={"image": PIXELS, "meta": [("int32", (None, 1)), ("string", (None,))]},
        outputs=[SCORES, {"best": ("int64", (None,))}],
    )
    image = np.zeros((2, 64), "float32")
    answer = ask(model, {"image": image, "meta": [np.zeros((2, 1), "int32"), np.array(["a", "b"])]})
    assert [answer[0].shape, answer[1]["best"].shape] == [(2, 10), (2,)]


def test_structures_may_be_named_apart() -> None:
    model = FakeModel("one", inputs=PIXELS, outputs={"p": SCORES}, output_structure={"p": "p"})
    assert list(ask(model, np.ones((1, 64)))) == ["p"]


def test_strings_come_as_bytes_and_go_as_either() -> None:
    model = FakeModel(
        "words", inputs=("string", (None,)), outputs=(str, (None,)), answer=lambda s: [w.decode() + "!" for w in s]
    )
    assert ask(model, np.array(["a", "bc"])).tolist() == [b"a!", b"bc!"]


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_every_dtype_can_be_declared(dtype: str) -> None:
    with in_process(FakeModel("m", inputs=(dtype, (None, 2)), outputs=(dtype, (None, 2)), answer=lambda x: x)):
        x = np.array([[0, 1], [1, 0]])
        assert predictd.Client().predict("m", x, cast=True).outputs.astype("complex128").tolist() == x.tolist()


def test_versions_labels_and_signatures() -> None:
    first = doubling(labels=["stable"])
    second = FakeModel(
        "double",
        version=2,
        signatures={
            "twice": FakeSignature(("float32", (None, 4)), ("float32", (None, 4)), double),
            "thrice": FakeSignature(("float32", (None, 4)), ("float32", (None, 4)), lambda x: x * 3),
        },
    )
    with in_process(first, second) as server, predictd.Client() as client:
        assert client.predict("double", ROWS).receipt.version == 2
        assert client.predict("double", ROWS, version="stable").receipt.version == 1
        assert client.predict("double", ROWS, signature="thrice").outputs.tolist() == (ROWS * 3).tolist()
        assert [request.signature for request in server.requests] == [None, None, "thrice"]
        assert [metadata.version for metadata in client.models("double")] == [2, 1]


def test_a_model_may_change_while_it_is_served() -> None:
    model = doubling()
    with in_process(model), predictd.Client(retries=None) as client:
        assert client.predict("double", ROWS).outputs[0, 1] == 2
        model.answer = lambda x: -x
        assert client.predict("double", ROWS).outputs[0, 1] == -1
        model.state, model.error = "failed", "no such layer"
        with pytest.raises(predictd.ModelLoadError, match="no such layer"):
            client.predict("double", ROWS)


def test_metadata_of_a_real_model_makes_its_fake() -> None:
    with in_process(doubling(parameters=12, batch_sizes=(1, 8))) as server:
        metadata = predictd.Client().metadata("double")
        server.models.put(FakeModel.from_metadata(metadata, answer=[1.0, 2.0, 3.0, 4.0]))
        assert predictd.Client().metadata("double") == metadata
        assert predictd.Client().predict("double", ROWS).outputs[2].tolist() == [1, 2, 3, 4]


def test_what_an_answer_raises_is_the_answer() -> None:
    def refuse(x: Any) -> Any:
        raise (predictd.OverloadedError("busy", {"retry_after_ms": 7}) if x[0, 0] else ValueError("no"))

    with in_process(doubling(answer=refuse)), predictd.Client(retries=None) as client:
        with pytest.raises(
            predictd.PredictionError, match="fake model 'double' version 1: its answer raised ValueError: no"
        ):
            client.predict("double", ROWS)
        with pytest.raises(predictd.OverloadedError, match="busy") as caught:
            client.predict("double", ROWS + 1)
        assert caught.value.retry_after_ms == 7


@pytest.mark.parametrize(
    ("outputs", "answer", "said"),
    [
        (
            ("float32", (None, 10)),
            lambda x: x,
            "its answer for 'output_0' is float32[3, 4]; the signature declares float32[rows, 10], which is "
            "float32[3, 10] for a request of 3 rows. Correct the fake's answer, or its outputs",
        ),
        (("float32", (None, 4)), lambda x: x[:1], "is float32[1, 4]; the signature declares float32[rows, 4]"),
        (("int32", (None, 4)), lambda x: x + 0.5, "is float32[3, 4]; the signature declares int32[rows, 4]"),
        (("uint8", (None,)), [300, 1, 2], "is int64[3]; the signature declares uint8[rows]"),
        (("string", (None,)), lambda x: x[:, 0], "is float32[3]; the signature declares string[rows]"),
        (("float32", (None, 4)), lambda x: None, "its answer for 'output_0' can't be sent"),
        (TWO_SCORES, lambda x: x, "should be a dict of 2 with the keys 'a', 'b' (outputs 'a', 'b'), got a ndarray"),
        (TWO_SCORES, {"a": 1}, "a dict of 2 with the keys 'a', 'b' (outputs 'a', 'b'), got a dict of 1 ('a')"),
        ([SCORES, SCORES], lambda x: [x], "should be a list of 2 (outputs 'output_0', 'output_1'), got a list of 1"),
        (
            ("float32", (None, 2)),
            [[1.0, 2.0], [3.0, 4.0]],
            "its constant answer for 'output_0' has 2 rows, the request has 3. Give one row, which answers every row",
        ),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_to_its_author(outputs: Any, answer: Any, said: str) -> None:
    with (
        pytest.raises(WrongAnswerError) as caught,
        in_process(doubling(outputs=outputs, answer=answer)),
        pytest.raises(predictd.InternalServerError, match="a mistake in the test"),
    ):
        predictd.RemoteModel("double").predict(ROWS)
    assert str(caught.value).startswith("fake model 'double' version 1: ")
    assert said in str(caught.value)


def test_assertions_in_an_answer_are_not_lost() -> None:
    def check(x: Any) -> Any:
        assert x.max() < 1, "not scaled"
        return x

    with (
        pytest.raises(WrongAnswerError, match="an assertion in its answer failed: not scaled"),
        in_process(doubling(answer=check)),
        pytest.raises(predictd.InternalServerError),
    ):
        predictd.RemoteModel("double").predict(ROWS)


def test_an_error_of_the_test_is_not_hidden_by_a_mistake() -> None:
    def body() -> None:
        with in_process(doubling(answer=lambda x: x[:1])):
            with pytest.raises(predictd.InternalServerError):
                predictd.RemoteModel("double").predict(ROWS)
            raise KeyError

    with pytest.raises(KeyError):
        body()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FakeModel("m"), "fake model 'm' without inputs and outputs: say what goes in and out, such as"),
        (lambda: FakeModel("m", inputs=PIXELS), "fake model 'm' without outputs"),
        (lambda: FakeModel("m", inputs=3, outputs=PIXELS), "inputs of a fake model: expected (dtype, shape) such as"),
        (lambda: FakeModel("m", inputs=("float33", (None,)), outputs=PIXELS), "expected a dtype such as 'float32'"),
        (lambda: FakeModel("m", inputs=("float32", (None, "a")), outputs=PIXELS), "shape of tensor 'input_0'"),
        (lambda: FakeModel("m", inputs=PIXELS, outputs=np.float32(3)), "an example array needs an axis of rows"),
        (lambda: FakeModel("m", inputs=PIXELS, outputs=PIXELS, state="gone"), "state: expected one of available"),
        (lambda: FakeModel("m", inputs=PIXELS, outputs=PIXELS, version=-1), "fake model 'm': field version"),
        (lambda: FakeModel("m", inputs=PIXELS, signatures={}), "give either signatures, or inputs, outputs"),
        (lambda: Shelf(["m"], lambda metadata: metadata), "a fake serves FakeModel objects, got a str: 'm'"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_told_where_it_is_written(make: Any, said: str) -> None:
    with pytest.raises(predictd.ConfigError) as caught:
        make()
    assert said in str(caught.value)


def test_a_failed_model_needs_no_signature() -> None:
    with in_process(FakeModel("m", state="failed", error="bad file"), doubling()) as server:
        assert server.state == "ready"
        with pytest.raises(predictd.ModelLoadError, match="bad file"):
            predictd.RemoteModel("m").predict(ROWS)
