"""Execution: one batch through the graph, and, when that raises, the search for the request that made it raise.

Owns the order assemble -> run -> check, and the isolation of a culprit. Runs on the pump (short batches) or on the
engine thread (long ones), never on both at once. Touches no socket.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.errors import PredictionError
from predictd_server.assembly import Workspace, assemble
from predictd_server.batch import Batch, Run, check_rows
from predictd_server.counters import Counters
from predictd_server.ladder import allowed_size
from predictd_server.pending import Part

_log = logging.getLogger(__name__)

#: Of a model's own error text, callers get this much; the rest is in the log.
MAX_REASON = 500


def execute(batch: Batch, workspace: Workspace, counters: Counters) -> list[Run]:
    """Run a batch; a failing one is halved and run again until only the culprits fail.

    Returns:
        One run where all went well; else several, whose parts together are the batch's.
    """
    run = _run_once(batch, workspace)
    if run.error is None or len(batch.parts) == 1:
        return [run]
    counters.runs_isolating_total += 1
    middle = len(batch.parts) // 2
    runs: list[Run] = []
    for parts in (batch.parts[:middle], batch.parts[middle:]):
        runs.extend(execute(_smaller(batch, parts), workspace, counters))
    return runs


def _smaller(batch: Batch, parts: list[Part]) -> Batch:
    rows = sum(part.rows for part in parts)
    return replace(batch, parts=parts, rows=rows, size=allowed_size(batch.signature.sizes, rows))


def _run_once(batch: Batch, workspace: Workspace, clock: Callable[[], float] = perf_counter) -> Run:
    started = clock()
    assembled = started
    try:
        inputs = assemble(batch, workspace)
        assembled = clock()
        outputs = list(batch.signature.runner.run(inputs))
    except Exception as error:  # a model may raise anything
        # The whole of TensorFlow's text goes to those who ask: one caller's bad input must not fill the log.
        _log.warning("%s raised for %d rows: %s", batch.signature, batch.rows, _reason(error))
        _log.debug("its traceback", exc_info=True)
        failure = PredictionError(f"{batch.signature} raised for this request: {_reason(error)}")
        return Run(batch.parts, batch.rows, batch.size, None, failure, assembled - started, clock() - assembled)
    executed = clock()
    if batch.signature.is_mergeable:
        wrong = check_rows(outputs, batch.size)
        if wrong is not None:
            failure = PredictionError(
                f"{batch.signature}: {wrong}; its outputs must have one row per input row, as its signature says"
            )
            return Run(batch.parts, batch.rows, batch.size, None, failure)
    outputs = [_unaliased(output, inputs) for output in outputs]
    batch.signature.observe(batch.size, executed - assembled)
    return Run(batch.parts, batch.rows, batch.size, outputs, None, assembled - started, executed - assembled)


def _unaliased(output: NDArray[Any], inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """A graph that passes an input through may answer with the workspace's own memory, which the next batch reuses."""
    return output.copy() if any(np.may_share_memory(output, array) for array in inputs) else output


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    first = text[0] if text else "no reason given"
    return f"{type(error).__name__}: {first}"[:MAX_REASON]
