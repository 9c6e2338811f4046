"""What a model tells of itself: shapes, specs, names, parameters, the summary."""

from __future__ import annotations

import re

import pytest

from tests.parity.parity_models import PARITY_MODELS

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(400)]

#: Keras says int64 for what it answers as strings.
WRONG_IN_KERAS = {"labels"}


@pytest.mark.parametrize("name", sorted(PARITY_MODELS))
def test_shapes_and_specs(pair, name: str) -> None:
    both = pair(name)
    local, remote = both.local, both.remote
    assert remote.input_shape == local.input_shape
    assert remote.output_shape == local.output_shape
    assert type(remote.input_shape) is type(local.input_shape)
    assert [(spec.dtype, spec.shape) for spec in remote.inputs] == [(t.dtype, t.shape) for t in local.inputs]
    if name not in WRONG_IN_KERAS:
        assert [(spec.dtype, spec.shape) for spec in remote.outputs] == [(t.dtype, t.shape) for t in local.outputs]
    assert remote.count_params() == local.count_params()


@pytest.mark.parametrize("name", ["two_inputs", "dicts", "nested", "deep", "unordered", "mixed_inputs", "cnn"])
def test_inputs_are_named_as_in_keras(pair, name: str) -> None:
    both = pair(name)
    assert both.remote.input_names == [tensor.name for tensor in both.local.inputs]


@pytest.mark.parametrize("name", ["two_inputs", "list_of_one", "column"])
def test_outputs_are_named_as_in_keras(pair, name: str) -> None:
    both = pair(name)
    assert both.remote.output_names == both.local.output_names


def test_the_summary_says_what_one_looks_for(pair) -> None:
    both = pair("dicts")
    lines: list[str] = []
    both.remote.summary(print_fn=lines.append)
    text = "\n".join(lines)
    # Layers stay with the server: what goes in, what comes out, and how large it is.
    assert re.search(r'^Model: "dicts", version 1, served at ipc://', text)
    for said in (r"input +left +float32 +\(rows, 3\)", r"output +score +float32 +\(rows, 2\)"):
        assert re.search(said, text), text
    assert re.search(f"Parameters +{both.local.count_params():,} ", text), text
