"""Every kind of model, called in every way: the answer is Keras' own."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import predictd
from tests.parity.pair import assert_same
from tests.parity.parity_models import PARITY_MODELS

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(400)]

#: Keras runs any number of rows through them; as a batch they are always four.
FIXED = {"fixed_rows"}
NAMES = sorted(PARITY_MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_every_way_to_ask(pair, name: str) -> None:
    both = pair(name)
    x, size = both.rows(44), 4 if name in FIXED else 7
    both.same(lambda model: model.predict(x, verbose=0))
    both.same(lambda model: model.predict(x, batch_size=size, verbose=0), is_fresh=False)
    few = both.rows(4)
    answer = both.same(lambda model: model.predict_on_batch(few), is_fresh=False)
    assert all(array.flags.writeable for array in _arrays(answer))
    both.same(lambda model: model(few))


@pytest.mark.parametrize("batch_size", [1, 3, 40, 41, 1000])
def test_any_batch_size(pair, batch_size: int) -> None:
    both = pair("mlp")
    x = both.rows(40)
    both.same(lambda model: model.predict(x, batch_size=batch_size, verbose=0))


@pytest.mark.parametrize("batch_size", [None, 7, 20, 100])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_steps_of_an_array(pair, steps: int, batch_size: int | None) -> None:
    both = pair("mlp")
    x = both.rows(40)
    expected = both.of_keras(lambda model: model.predict(x, batch_size=batch_size, steps=steps, verbose=0))
    is_short = batch_size is not None and (steps - 1) * batch_size >= 40
    with pytest.warns(UserWarning, match="fewer than steps") if is_short else nullcontext():
        got = both.remote.predict(x, batch_size=batch_size, steps=steps, verbose=0)
    assert_same(got, expected)


def test_rows_that_influence_each_other_meet_the_same_ones_as_in_keras(pair) -> None:
    both = pair("centred")
    x = both.rows(100)
    for batch_size in (None, 32, 10, 64):
        both.same(lambda model, size=batch_size: model.predict(x, batch_size=size, verbose=0))
    both.same(lambda model: model.predict(((part,) for part in np.array_split(x, 3)), verbose=0))
    both.same(lambda model: model.predict_on_batch(x))


def test_a_long_sequence_and_a_short_one(pair) -> None:
    both = pair("lstm")
    for length in (1, 30):
        x = np.random.default_rng(length).normal(size=(6, length, 4)).astype("float32")
        both.same(lambda model, x=x: model.predict(x, verbose=0))


def test_training_is_refused_and_inference_is_not(pair) -> None:
    both = pair("mlp")
    x = both.rows(2)
    both.same(lambda model: model(x, training=False))
    with pytest.raises(predictd.ConfigError, match="only infers"):
        both.remote(x, training=True)


def _arrays(nest):
    if isinstance(nest, (dict, list, tuple)):
        children = nest.values() if isinstance(nest, dict) else nest
        return [array for child in children for array in _arrays(child)]
    return [nest]
