"""Predict messages <-> headers, written out by hand: these two are on the path of every request.

Owns the keys of `PredictRequest`, `PredictResponse` and `Receipt` in a header; `plain.py` does the rest of the messages
by their fields. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn

from predictd_proto.checks import shown
from predictd_proto.entries import check_rows, tensor_entries, tensors_of_entries
from predictd_proto.errors import LocalProtocolError, RemoteProtocolError, SegmentRefusedError
from predictd_proto.limits import Limits
from predictd_proto.messages import PredictRequest, PredictResponse, Receipt
from predictd_proto.segments import ReplyMemory, RequestMemory, segments_of_entries
from predictd_proto.tensors import Buffer

_REQUEST_KEYS = frozenset(item.name for item in fields(PredictRequest))
_RECEIPT_KEYS = frozenset(item.name for item in fields(Receipt))


def request_header(request: PredictRequest, frames: list[Buffer]) -> dict[str, object]:
    """Return a request's header, and add its large tensors to the frames."""
    header: dict[str, object] = {"id": request.id}
    if request.timeout_ms is not None:
        # Second, and the tensors last: so a server can tell requests of one kind by their bytes (request_template.py).
        header["timeout_ms"] = request.timeout_ms
    header["model"] = request.model
    if request.version is not None:
        header["version"] = request.version
    if request.signature is not None:
        header["signature"] = request.signature
    if request.caller_class:
        header["caller_class"] = request.caller_class
    if request.traceparent:
        header["traceparent"] = request.traceparent
    if request.task_id:
        header["task_id"] = request.task_id
    if request.task_name:
        header["task_name"] = request.task_name
    if request.segments:
        header["segments"] = [segment.entry for segment in request.segments]
    if request.reply_segment is not None:
        header["reply_segment"] = request.reply_segment
    header["tensors"] = tensor_entries(request.tensors, frames)
    return header


def request_of_header(
    header: dict[str, Any], frames: Sequence[Buffer], limits: Limits, memory: RequestMemory | None
) -> PredictRequest:
    """Return the request that a header and its frames hold.

    Args:
        header: As it was unpacked; it is changed.
        frames: The message.
        limits: What to accept.
        memory: Returns the memory of a segment of whoever sent it; None where none is ever shared.

    Raises:
        KeyError: There are no tensors.
        TypeError: Another field is missing.
        LocalProtocolError: A field is wrong.
        RemoteProtocolError: A tensor is wrong.
        RequestTooLargeError: It is over a limit.
        SegmentRefusedError: The memory that a tensor lies in can't be had.
    """
    segments = header["segments"] = segments_of_entries(header["segments"]) if "segments" in header else ()

    def shared(number: int) -> Buffer:
        if number >= len(segments):
            text = f"a tensor in segment {number}; the request announces {len(segments)}"
            raise RemoteProtocolError(text)
        if memory is None:
            text = "a tensor in a segment; no memory is shared here: send it in a frame"
            raise SegmentRefusedError(text)
        return memoryview(memory(segments[number])).toreadonly()

    tensors = tensors_of_entries(header["tensors"], frames, limits, shared)
    check_rows(tensors, limits)
    header["tensors"] = tensors
    return PredictRequest(**_known(header, _REQUEST_KEYS))


def response_header(response: PredictResponse, frames: list[Buffer]) -> dict[str, object]:
    """Return a response's header, and add its large tensors to the frames."""
    receipt = response.receipt
    return {
        "id": response.id,
        "receipt": {
            "model": receipt.model,
            "version": receipt.version,
            "queue_ms": receipt.queue_ms,
            "assemble_ms": receipt.assemble_ms,
            "execute_ms": receipt.execute_ms,
            "split_ms": receipt.split_ms,
            "batch_rows": receipt.batch_rows,
            "padding_rows": receipt.padding_rows,
            "batches": receipt.batches,
            "closed_by": receipt.closed_by,
            "queued_rows": receipt.queued_rows,
        },
        "tensors": tensor_entries(response.tensors, frames),
    }


def response_of_header(
    header: dict[str, Any], frames: Sequence[Buffer], limits: Limits, memory: ReplyMemory | None
) -> PredictResponse:
    """Return the response that a header and its frames hold.

    Args:
        header: As it was unpacked.
        frames: The message.
        limits: What to accept.
        memory: Returns the memory that the request, given by its id, announced; None where it announced none.

    Raises:
        KeyError: The id, the receipt or the tensors are missing.
        TypeError: A field of the receipt is missing.
        LocalProtocolError: A field is wrong.
        RemoteProtocolError: A tensor is wrong.
        RequestTooLargeError: It is over a limit.
    """
    receipt = header["receipt"]
    if type(receipt) is not dict:
        text = f"field receipt: expected a map, got {shown(receipt)}"
        raise LocalProtocolError(text)

    def shared(number: int) -> Buffer:
        return _not_shared() if memory is None else memory(header["id"], number)

    tensors = tensors_of_entries(header["tensors"], frames, limits, shared)
    return PredictResponse(id=header["id"], tensors=tensors, receipt=Receipt(**_known(receipt, _RECEIPT_KEYS)))


def _not_shared() -> NoReturn:
    text = "an output in a segment; the request announced none"
    raise RemoteProtocolError(text)


def _known(header: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    if header.keys() <= known:
        return header
    return {key: value for key, value in header.items() if key in known}
