"""Outputs that are their inputs: what a later batch does with the memory must not change what an earlier one gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from predictd_proto.tensors import Tensor
from predictd_server.models.settings import PAD, ModelSettings
from predictd_server.serving.assembly import JOIN_BYTES, Workspace
from predictd_server.serving.batch import Batch
from predictd_server.serving.execution import execute
from predictd_server.serving.pending import Part, Pending
from predictd_server.serving.served import ServedSignature
from tests.server.fake_model import DoublingRunner, doubling_spec

SETTINGS = ModelSettings(name="m", path=Path(), lengths=(4, JOIN_BYTES), unseen_lengths=PAD)


class PassingRunner(DoublingRunner):
    """Answers with its inputs themselves."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return list(inputs)


def batch_of(signature: ServedSignature, widths: tuple[int, ...], value: float) -> Batch:
    parts = []
    for number, width in enumerate(widths):
        tensor = Tensor.from_array("x0", np.full((1, width), value, np.float32))
        parts.append(Part(Pending(b"p", number, signature, (tensor,), 1, len(tensor.data), 0.0, 1.0), 0, 1))
    return Batch(signature, parts, len(parts), len(parts), ((max(widths),),), "idle", 0.0)


@pytest.mark.parametrize(
    ("widths", "is_lent"),
    [((4,), False), ((4, 4), False), ((JOIN_BYTES,) * 2, True), ((4, 3), True)],
    ids=["one request", "small, joined", "large, copied", "small, padded"],
)
def test_what_a_batch_gave_outlives_the_next_one(widths: tuple[int, ...], *, is_lent: bool) -> None:
    signature = ServedSignature("m", 1, doubling_spec((None, None)), PassingRunner(), (1, 2, 4), SETTINGS)
    workspace = Workspace()
    [run] = execute(batch_of(signature, widths, 7.0), workspace)
    assert workspace.is_lent is is_lent
    assert run.outputs is not None
    before = run.outputs[0].tolist()
    assert before[0] == [7.0] * widths[0]
    execute(batch_of(signature, widths, 99.0), workspace)
    assert run.outputs[0].tolist() == before
