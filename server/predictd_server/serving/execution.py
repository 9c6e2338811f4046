"""Execution: one batch through the graph, and, when that raises, the search for the request that made it raise.

Owns the order assemble -> run -> check, and the isolation of a culprit. Runs on the pump (short batches) and on the
engine thread (long ones), on both at once only for different models. Touches no socket.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.errors import OverloadedError, PredictionError
from predictd_proto.printable import printable
from predictd_server.serving.assembly import JOIN_BYTES, Workspace, assemble
from predictd_server.serving.batch import Batch, Run, check_rows
from predictd_server.serving.calling_task import named_tasks
from predictd_server.serving.ladder import allowed_size
from predictd_server.serving.pending import Part

_log = logging.getLogger(__name__)

#: Of a model's own error text, callers get this much; the rest is in the log.
MAX_REASON = 500

#: The search for the request that makes a batch fail ends after this long; each of its runs keeps everybody waiting.
SEARCH_S = 10.0


def execute(
    batch: Batch,
    workspace: Workspace,
    begin: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = perf_counter,
) -> list[Run]:
    """Run a batch; a failing one is halved and run again until only the culprits fail.

    Args:
        batch: What to run.
        workspace: Memory for its inputs.
        begin: Called before each run.
        clock: Seconds; times the runs and bounds the search.

    Returns:
        One run where all went well; else several, for all parts whose requests still want an answer.
    """
    begin()
    run = _run_once(batch, workspace, clock)
    batch.busy_s += run.assemble_s + run.execute_s
    if run.error is None or len(batch.parts) == 1:
        return [run]
    batch.is_searched = True
    give_up_s = clock() + SEARCH_S
    runs: list[Run] = []
    halves = _halves(batch)
    while halves:
        half = halves.pop(0)
        if clock() > give_up_s:
            runs.append(Run(half.parts, half.rows, half.size, None, _unsearched(half)))
            continue
        begin()
        run = _run_once(half, workspace, clock)
        batch.busy_s += run.assemble_s + run.execute_s
        if run.error is None or len(half.parts) == 1:
            runs.append(run)
        else:
            halves[:0] = _halves(half)
    return runs


def _halves(batch: Batch) -> list[Batch]:
    """Return a failed batch as two, without those whose caller has gone meanwhile."""
    wanted = [part for part in batch.parts if not part.request.is_over]
    middle = len(wanted) // 2
    return [_smaller(batch, parts) for parts in (wanted[:middle], wanted[middle:]) if parts]


def _smaller(batch: Batch, parts: list[Part]) -> Batch:
    rows = sum(part.rows for part in parts)
    return replace(batch, parts=parts, rows=rows, size=allowed_size(batch.signature.sizes, rows))


def _unsearched(batch: Batch) -> OverloadedError:
    text = (
        f"{batch.signature}: another request in the same batch made the model fail, and the search for it took "
        f"more than {SEARCH_S:g} s; try again"
    )
    return OverloadedError(text, {"retry_after_ms": 100})


def _run_once(batch: Batch, workspace: Workspace, clock: Callable[[], float]) -> Run:
    started = clock()
    assembled = started
    try:
        inputs = assemble(batch, workspace)
        assembled = clock()
        outputs = list(batch.signature.runner.run(inputs))
    except Exception as error:  # a model may raise anything
        # The whole of TensorFlow's text goes to those who ask: one caller's bad input must not fill the log.
        whose = named_tasks(part.request for part in batch.parts)
        _log.warning("%s raised for %d rows%s: %s", batch.signature, batch.rows, whose, _reason(error))
        _log.debug("its traceback", exc_info=True)
        failure = PredictionError(
            f"{batch.signature} raised for this request: {_reason(error)}; the daemon's log has more"
        )
        return Run(batch.parts, batch.rows, batch.size, None, failure, assembled - started, clock() - assembled)
    executed = clock()
    if batch.signature.is_mergeable:
        wrong = check_rows(outputs, batch.size)
        if wrong is not None:
            failure = PredictionError(
                f"{batch.signature}: {wrong}; its outputs must have one row per input row, as its signature says"
            )
            times_s = assembled - started, executed - assembled
            return Run(batch.parts, batch.rows, batch.size, None, failure, *times_s)
    outputs = [_unaliased(output, inputs, workspace) for output in outputs]
    batch.signature.costs.observe(batch.size, batch.shapes, executed - assembled)
    return Run(batch.parts, batch.rows, batch.size, outputs, None, assembled - started, executed - assembled)


def _unaliased(output: NDArray[Any], inputs: list[NDArray[Any]], workspace: Workspace) -> NDArray[Any]:
    """A graph that passes an input through may answer with the workspace's own memory, which the next batch reuses."""
    for array in inputs:
        # Small inputs outside it have memory of their own; the look takes half a microsecond for each.
        if (workspace.is_lent or array.nbytes > JOIN_BYTES) and np.may_share_memory(output, array):
            return output.copy()
    return output


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    first = text[0] if text else "no reason given"
    return printable(f"{type(error).__name__}: {first}"[:MAX_REASON])
