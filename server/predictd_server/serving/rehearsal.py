"""Rehearsal: one request run as the server runs it, before anybody may ask.

Owns the short way through assembly, padding, graph and split, without a queue and without callers. Loader thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_proto.errors import PredictionError
from predictd_proto.tensors import Tensor
from predictd_server.runner import Arrays
from predictd_server.serving.assembly import Workspace
from predictd_server.serving.batch import DRAIN, Batch
from predictd_server.serving.execution import execute
from predictd_server.serving.ladder import allowed_size
from predictd_server.serving.pending import Pending
from predictd_server.serving.replies import split_run
from predictd_server.serving.served import ServedSignature


def rehearse(signature: ServedSignature, inputs: Arrays) -> list[NDArray[Any]]:
    """Return the answer to one request.

    It is cut into batches, its batches are padded to an allowed size and its rows to the model's lengths, and what that
    adds is cut off again.

    Args:
        signature: As it would be served.
        inputs: In the order of its spec, of its dtypes, of one row at least.

    Raises:
        TensorMismatchError: The server would refuse the request.
        PredictionError: The graph raised.
    """
    request = _request(signature, inputs)
    most = signature.sizes[-1] if signature.sizes else request.rows
    workspace = Workspace()
    shapes = tuple(tensor.shape[1:] for tensor in request.tensors)
    if signature.lengths is not None:
        fit = signature.lengths.fit(request.tensors)
        shapes, request.cuts = fit.shapes, fit.cuts
    while request.next_row < request.rows:
        rows = min(most, request.rows - request.next_row)
        size = allowed_size(signature.sizes, rows) if signature.sizes else rows
        batch = Batch(signature, [request.take(rows)], rows, size, shapes, DRAIN, 0.0)
        [run] = execute(batch, workspace)
        if run.error is not None:
            raise run.error
        split_run(run)
    answers = [[tensor.array() for tensor in part] for part in request.outputs]
    return answers[0] if len(answers) == 1 else joined(signature, answers)


def joined(signature: ServedSignature, answers: Sequence[Arrays]) -> list[NDArray[Any]]:
    """Return the answers to several parts as one.

    Raises:
        PredictionError: An output differs in shape between them.
    """
    outputs: list[NDArray[Any]] = []
    for spec, parts in zip(signature.spec.outputs, zip(*answers, strict=True), strict=True):
        shapes = sorted({part.shape[1:] for part in parts})
        if len(shapes) > 1:
            text = (
                f"{signature}: output {spec.name!r} differs in shape from row to row: {list(shapes[0])} and "
                f"{list(shapes[1])}, which are no one array"
            )
            raise PredictionError(text)
        outputs.append(np.concatenate(parts))
    return outputs


def _request(signature: ServedSignature, inputs: Arrays) -> Pending:
    sent = [
        Tensor.from_array(spec.name, array, spec.dtype)
        for spec, array in zip(signature.spec.inputs, inputs, strict=True)
    ]
    tensors, rows = signature.check(sent)
    byte_count = sum(tensor.byte_count for tensor in tensors)
    return Pending(b"", 0, signature, tensors, rows, byte_count, arrived_s=0.0, deadline_s=math.inf)
