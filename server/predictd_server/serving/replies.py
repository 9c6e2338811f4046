"""Replies: a run's outputs, cut apart and put into each request's answer.

Owns the way from output arrays to a reply's frames, receipt included. Pure; pump thread only.
"""

from __future__ import annotations

from time import perf_counter

from predictd_proto.errors import InvalidRequestError, PredictionError
from predictd_proto.frames import encode
from predictd_proto.messages import PredictResponse, Receipt
from predictd_proto.reply_template import fits_template, run_facts
from predictd_proto.tensors import Buffer, Tensor
from predictd_server.serving.assembly import OutputRows, without_padding
from predictd_server.serving.batch import CACHE, JOINED, Batch, Run
from predictd_server.serving.pending import Pending
from predictd_server.serving.whole_replies import template_of


def split_run(run: Run) -> list[Pending]:
    """Hand each part's rows to its request, and return the requests in order.

    The outputs are shared, not copied: a large reply's bytes live in the run's output arrays until they are sent.

    Raises:
        LocalProtocolError: An output's dtype has no form on the wire.
    """
    started = perf_counter()
    signature = run.parts[0].request.signature
    specs = signature.spec.outputs
    arrays = run.outputs or []
    if signature.is_mergeable:
        cutters = [OutputRows(spec.name, spec.dtype, array) for spec, array in zip(specs, arrays, strict=True)]
        position = 0
        for part in run.parts:
            cuts = part.request.cuts
            if cuts is None:
                part.request.outputs.append([cutter.rows(position, part.rows) for cutter in cutters])
            else:
                padded = zip(cutters, cuts, strict=True)
                part.request.outputs.append([cutter.cut_rows(position, part.rows, each) for cutter, each in padded])
            position += part.rows
    else:
        cuts = run.parts[0].request.cuts
        if cuts is not None:
            arrays = [without_padding(array, each) for array, each in zip(arrays, cuts, strict=True)]
        whole = [Tensor.from_array(spec.name, array, spec.dtype) for spec, array in zip(specs, arrays, strict=True)]
        run.parts[0].request.outputs.append(whole)
    split_s = perf_counter() - started
    requests = [part.request for part in run.parts]
    for part in run.parts:
        request = part.request
        request.finished_rows += part.rows
        request.assemble_s += run.assemble_s
        request.execute_s += run.execute_s
        request.split_s += split_s
    return requests


def response_frames(request: Pending, batch: Batch, run: Run, queued_rows: int) -> list[Buffer]:
    """Return a finished request's reply.

    Args:
        request: All of its rows have their outputs.
        batch: The (last) batch it was in.
        run: The run of that batch it was in.
        queued_rows: Rows that wait now; tells the client how loaded the server is.

    Raises:
        PredictionError: Its parts' outputs do not join to one array.
    """
    receipt = _receipt(request, batch.closed_by, run, request.queue_s, queued_rows)
    return _frames(request, request, receipt)


def joined_response(follower: Pending, leader: Pending, batch: Batch, run: Run, queued_rows: int) -> list[Buffer]:
    """Return the reply to a request that waited for the answer of another one, which has it now.

    Args:
        follower: The one that waited.
        leader: The one that ran.
        batch: The (last) batch that the leader was in.
        run: The run of that batch that it was in.
        queued_rows: Rows that wait now.
    """
    queue_s = min(leader.queue_s, batch.closed_s - follower.arrived_s)
    return _frames(follower, leader, _receipt(leader, JOINED, run, queue_s, queued_rows))


def kept_response(
    request: Pending, outputs: tuple[Tensor, ...], queued_rows: int, closed_by: str = CACHE
) -> list[Buffer]:
    """Return the reply to a request whose answer was kept from an earlier one.

    Args:
        request: It.
        outputs: The answer.
        queued_rows: Rows that wait now.
        closed_by: Why it was kept: for all, or for the next run of a task.
    """
    signature = request.signature
    if fits_template([len(tensor.data) for tensor in outputs]):
        facts = run_facts((0.0, 0.0, 0.0), (0, 0, 0, queued_rows), closed_by)
        template = template_of(signature, (CACHE, *[(each.shape, len(each.data)) for each in outputs]), outputs)
        return [template.frame(request.id, 0.0, template.of_run(facts), [tensor.data for tensor in outputs])]
    receipt = Receipt(
        model=signature.model, version=signature.version, batches=0, closed_by=closed_by, queued_rows=queued_rows
    )
    place = request.reply_place
    placed = None if place is None else place.put([outputs], request.rows)
    return encode(PredictResponse(id=request.id, tensors=outputs if placed is None else tuple(placed), receipt=receipt))


def _frames(request: Pending, ran: Pending, receipt: Receipt) -> list[Buffer]:
    """Return a request's reply, with the outputs of the one that ran for it: large ones in its caller's own memory."""
    place = request.reply_place
    outputs = None if place is None else place.put(ran.outputs, ran.rows)
    if outputs is None:
        outputs = joined_outputs(ran)
    return encode(PredictResponse(id=request.id, tensors=tuple(outputs), receipt=receipt))


def _receipt(request: Pending, closed_by: str, run: Run, queue_s: float, queued_rows: int) -> Receipt:
    return Receipt(
        model=request.signature.model,
        version=request.signature.version,
        queue_ms=_ms(max(queue_s, 0.0)),
        assemble_ms=_ms(request.assemble_s),
        execute_ms=_ms(request.execute_s),
        split_ms=_ms(request.split_s),
        batch_rows=run.rows,
        padding_rows=run.size - run.rows,
        batches=request.batches,
        closed_by=closed_by,
        queued_rows=queued_rows,
    )


def empty_response(request: Pending) -> list[Buffer]:
    """Return the reply to a request of no rows: outputs of no rows.

    Raises:
        InvalidRequestError: The shape of an output depends on the rows, and there are none.
    """
    tensors: list[Tensor] = []
    for spec in request.signature.spec.outputs:
        shape = tuple(axis for axis in spec.shape[1:] if axis is not None)
        if len(shape) != len(spec.shape) - 1:
            text = f"{request.signature}: a request of no rows; output {spec.name!r} {spec} has no shape without rows"
            raise InvalidRequestError(text)
        tensors.append(Tensor(spec.name, spec.dtype, (0, *shape), b""))
    receipt = Receipt(model=request.signature.model, version=request.signature.version, batches=0)
    return encode(PredictResponse(id=request.id, tensors=tuple(tensors), receipt=receipt))


def joined_outputs(request: Pending) -> list[Tensor]:
    """Return a finished request's outputs, each in one piece.

    Raises:
        PredictionError: Its parts' outputs do not join to one array.
    """
    if len(request.outputs) != 1:
        request.outputs = [_joined(request)]
    return request.outputs[0]


def _joined(request: Pending) -> list[Tensor]:
    joined: list[Tensor] = []
    for tensors in zip(*request.outputs, strict=True):
        first = tensors[0]
        if any(tensor.shape[1:] != first.shape[1:] for tensor in tensors):
            text = f"{request.signature}: output {first.name!r} differs in shape between the batches of one request"
            raise PredictionError(text)
        data = b"".join([tensor.data for tensor in tensors])
        joined.append(Tensor(first.name, first.dtype, (request.rows, *first.shape[1:]), data))
    return joined


def _ms(seconds: float) -> float:
    return seconds * 1000
