"""What a newcomer tries at the prompt says where to go on, and gives nothing wrong without a word."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import predictd
from tests.client.fake_process import run_program
from tests.client.fake_server import FakeServer

ROWS = np.ones((2, 4), np.float32)


def test_a_prediction_of_one_output_is_an_array_to_numpy(server: FakeServer, client: predictd.Client) -> None:
    prediction = client.predict("double", ROWS)
    assert np.asarray(prediction) is prediction.outputs
    assert np.asarray(prediction, np.float64).dtype == np.float64
    assert np.array(prediction) is not prediction.outputs
    np.testing.assert_array_equal(prediction, ROWS * 2)
    assert copy.copy(prediction).outputs is prediction.outputs
    assert prediction


@pytest.mark.parametrize("use", [len, list, lambda p: p[0]])
def test_a_prediction_says_where_its_outputs_are(
    server: FakeServer, client: predictd.Client, use: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError, match=r"use \.outputs"):
        use(client.predict("double", ROWS))


def test_attributes_that_are_not_there_say_what_to_use(server: FakeServer, client: predictd.Client) -> None:
    prediction: Any = client.predict("double", ROWS)
    with pytest.raises(AttributeError, match=r"use \.outputs\.shape"):
        prediction.shape  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        prediction.nonsense  # noqa: B018


def test_several_outputs_are_no_array(server: FakeServer, client: predictd.Client) -> None:
    prediction = client.predict("pair", [ROWS, np.ones((2, 2), np.int32)])
    with pytest.raises(TypeError, match=r"several outputs is no array: use \.outputs"):
        np.asarray(prediction)


@pytest.mark.parametrize("name", ["fit", "evaluate", "layers", "save"])
def test_a_served_model_only_predicts(name: str) -> None:
    model = predictd.RemoteModel("m")
    with pytest.raises(AttributeError, match=f"no attribute '{name}': a served model only predicts"):
        getattr(model, name)
    assert not hasattr(model, name)
    assert copy.copy(model).name == "m"


def test_a_future_tells_what_it_is(server: FakeServer, client: predictd.Client) -> None:
    future: Any = client.submit("double", ROWS)
    future.result()
    assert repr(future) == "<predictd.PredictionFuture of model 'double', finished>"

    async def wait() -> None:
        await future

    with pytest.raises(TypeError, match=r"AsyncClient.predict, or asyncio.wrap_future\(future\)"):
        asyncio.run(wait())


def test_the_package_lists_what_is_public() -> None:
    names = dir(predictd)
    assert {"AsyncClient", "testing", "__version__", "Client"} <= set(names)
    assert not {"Any", "annotations", "TYPE_CHECKING", "import_module"} & set(names)


def test_the_testing_kit_comes_at_its_first_use() -> None:
    program = """
import sys, predictd
dir(predictd)
assert "predictd.testing" not in sys.modules
print(predictd.testing.FakeModel.__name__)
"""
    ran = run_program(program)
    assert ran.stdout.strip() == "FakeModel", ran.stderr
