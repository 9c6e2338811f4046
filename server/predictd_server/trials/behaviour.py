"""What a graph does that its spec doesn't say: keep a state, draw at random, mix rows.

Owns the experiments that show it. They run the graph and change nothing lasting but a state it keeps. Loader thread.
"""

from __future__ import annotations

import numpy as np

from predictd_server.runner import Arrays, Runner
from predictd_server.trials.agreement import Tolerance, find_difference
from predictd_server.trials.probe import OTHER_SEED, Probe
from predictd_server.trials.recording import Recording

#: Enough for a row with neighbours; small enough for any model.
_ROWS = 3


def is_repeatable(runner: Runner, inputs: Arrays, tolerance: Tolerance) -> bool:
    """Whether the same inputs give the same answer twice in a row."""
    return find_difference(runner.run(inputs), runner.run(inputs), tolerance) is None


def are_rows_independent(runner: Runner, probe: Probe | Recording, tolerance: Tolerance) -> bool:
    """Whether the first row's answer stays the same beside other neighbours, and every answer has a row per row.

    Args:
        runner: Repeatable.
        probe: Makes its inputs.
        tolerance: For comparing answers.
    """
    inputs, others = probe.inputs(_ROWS), probe.inputs(_ROWS, seed=OTHER_SEED)
    if any(array.ndim == 0 for array in inputs):
        return False
    if isinstance(probe, Recording) and find_difference(inputs, others, tolerance) is None:
        return False  # neighbours that are all the same tell nothing
    rows = inputs[0].shape[0]
    mixed = [np.concatenate([one[:1], other[1:]]) for one, other in zip(inputs, others, strict=True)]
    answers, mixed_answers = runner.run(inputs), runner.run(mixed)
    if any(answer.ndim == 0 or answer.shape[0] != rows for answer in answers):
        return False
    first, mixed_first = [answer[:1] for answer in answers], [answer[:1] for answer in mixed_answers]
    return find_difference(first, mixed_first, tolerance) is None
