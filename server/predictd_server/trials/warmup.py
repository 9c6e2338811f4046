"""Warm-up: runs every allowed batch size, so that no request is the first of its size.

Owns the order and the measuring. It knows numpy only. Loader thread, before the model is published as ready.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_server.models.load_failure import reason_of
from predictd_server.runner import Runner
from predictd_server.trials.probe import Probe, find_probe
from predictd_server.trials.timing import median_run_s

_log = logging.getLogger(__name__)

#: Seconds of timed runs per batch size.
BUDGET_S = 0.1


def warm_up(spec: SignatureSpec, runner: Runner, sizes: Sequence[int]) -> dict[int, float]:
    """Run a signature at every batch size on made-up inputs.

    Args:
        spec: Its inputs.
        runner: Runs it.
        sizes: Batch sizes in rows, ascending. A fixed axis 0 keeps its own length.

    Returns:
        The median seconds of a run, by batch size; empty when no made-up input was taken by the graph.

    Raises:
        ModelLoadError: A larger batch failed where a smaller one ran.
    """
    try:
        probe = _probe(spec, runner, sizes)
    except Exception as error:
        _log.warning("signature %r is not warmed up: it takes no made-up input: %s", spec.name, reason_of(error))
        return {}
    durations_s: dict[int, float] = {}
    for size in sizes:
        try:
            durations_s[size] = median_run_s(runner, probe.inputs(size), BUDGET_S)
        except Exception as error:
            text = (
                f"signature {spec.name!r} runs with {sizes[0]} rows and fails with {size}: {reason_of(error)}; "
                f"set max_batch_size below {size}"
            )
            raise ModelLoadError(text) from error
    return durations_s


def _probe(spec: SignatureSpec, runner: Runner, sizes: Sequence[int]) -> Probe:
    try:
        return find_probe(runner.run, spec.inputs, sizes[-1]).probe
    except Exception:
        # The largest size may be too large for the machine, which is worth a text of its own.
        return find_probe(runner.run, spec.inputs, sizes[0]).probe
