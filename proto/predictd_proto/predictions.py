"""Predict messages <-> headers, written out by hand: these two are on the path of every request.

Owns the keys of `PredictRequest`, `PredictResponse` and `Receipt` in a header; `plain.py` does the rest of the messages
by their fields. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from predictd_proto.checks import shown
from predictd_proto.entries import check_rows, tensor_entries, tensors_of_entries
from predictd_proto.errors import LocalProtocolError
from predictd_proto.limits import Limits
from predictd_proto.messages import PredictRequest, PredictResponse, Receipt
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
    header["tensors"] = tensor_entries(request.tensors, frames)
    return header


def request_of_header(header: dict[str, Any], frames: Sequence[Buffer], limits: Limits) -> PredictRequest:
    """Return the request that a header and its frames hold.

    Raises:
        KeyError: There are no tensors.
        TypeError: Another field is missing.
        LocalProtocolError: A field is wrong.
        RemoteProtocolError: A tensor is wrong.
        RequestTooLargeError: It is over a limit.
    """
    tensors = tensors_of_entries(header["tensors"], frames, limits)
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


def response_of_header(header: dict[str, Any], frames: Sequence[Buffer], limits: Limits) -> PredictResponse:
    """Return the response that a header and its frames hold.

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
    tensors = tensors_of_entries(header["tensors"], frames, limits)
    return PredictResponse(id=header["id"], tensors=tensors, receipt=Receipt(**_known(receipt, _RECEIPT_KEYS)))


def _known(header: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    if header.keys() <= known:
        return header
    return {key: value for key, value in header.items() if key in known}
