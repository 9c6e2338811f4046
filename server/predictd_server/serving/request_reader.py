"""Reading requests: from a message's frames to a request for what serves it, checked.

Owns the memory of kinds of requests seen before, which spares most of them the reading. Whether they are admitted is
the core's. Pure; pump thread only.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.messages import PredictRequest
from predictd_proto.request_template import RequestTemplates
from predictd_proto.tensors import Buffer, Tensor
from predictd_server.models.registry import Registry
from predictd_server.serving.caller_class import CallerClasses
from predictd_server.serving.calling_task import calling_task
from predictd_server.serving.pending import Pending


class RequestReader:
    """Makes requests of messages.

    Args:
        registry: Finds what serves a request.
        max_timeout_s: Longest a request may wait, also when its caller would wait longer.
        classes: The classes of callers.
    """

    def __init__(self, registry: Registry, max_timeout_s: float, classes: CallerClasses) -> None:
        self._registry = registry
        self._classes = classes
        self._has_classes = bool(classes.all)
        self._max_timeout_s = max_timeout_s
        self._templates = RequestTemplates()

    def forget(self) -> None:
        """Forget all kinds of requests: they keep the models that they were for in memory."""
        self._templates = RequestTemplates()

    def read_known(self, peer: bytes, frame: Buffer, now: float) -> Pending | None:
        """Return a request by what is known of its kind; None where it must be decoded."""
        found = self._templates.recognise(frame) if type(frame) is bytes else None
        if found is None:
            return None
        known, request_id, timeout_ms, data = found
        resolved = known.resolved
        if resolved is None or resolved[0] != self._registry.generation:
            return None
        _, signature, rows, first = resolved
        tensors = (Tensor(first.name, first.dtype, first.shape, data),)
        timeout_s = timeout_ms / 1000
        if timeout_s > self._max_timeout_s:  # noqa: PLR1730  (`min` takes 0.1 microseconds longer)
            timeout_s = self._max_timeout_s
        caller = self._classes.find(known.request.caller_class) if self._has_classes else None
        return Pending(peer, request_id, signature, tensors, rows, known.data_bytes, now, now + timeout_s, caller)

    def read(self, peer: bytes, message: PredictRequest, frames: Sequence[Buffer], now: float) -> Pending:
        """Return a request by its decoded message.

        Args:
            peer: Who asks.
            message: What for.
            frames: What the message was decoded from.
            now: The time (monotonic).

        Raises:
            PredictdError: Nothing serves it, or its tensors don't fit.
        """
        generation = self._registry.generation
        signature = self._registry.find(message.model, message.version, message.signature)
        tensors, rows = signature.check(message.tensors)
        if len(frames) == 1 and rows and type(frames[0]) is bytes:
            known = self._templates.remember(frames[0], message)
            if known is not None:
                known.resolved = (generation, signature, rows, tensors[0])
        timeout_s = self._max_timeout_s
        if message.timeout_ms is not None:
            timeout_s = min(timeout_s, message.timeout_ms / 1000)
        byte_count = sum([len(tensor.data) for tensor in tensors])
        caller = self._classes.find(message.caller_class) if self._has_classes else None
        task = calling_task(message)
        return Pending(peer, message.id, signature, tensors, rows, byte_count, now, now + timeout_s, caller, task)
