"""Admission: which requests are queued and which are refused at once, with a reason.

Owns the bounds on what waits (each model's rows, everybody's bytes) and the estimate of when a retry is worth it.
Pure; pump thread only, but for the plain numbers that the control thread reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from predictd_proto.errors import OverloadedError
from predictd_server.serving.batch import Batch
from predictd_server.serving.caller_class import CallerClass, CallerClasses
from predictd_server.serving.class_queue import ClassQueue
from predictd_server.serving.model_queue import ModelQueue
from predictd_server.serving.pending import Part, Pending
from predictd_server.serving.served import ServedSignature

#: Until a first batch has run there is no rate to estimate from.
FIRST_RETRY_MS = 100
MOST_RETRY_MS = 10_000

#: What is kept of each bound for the classes of callers, each its part.
KEPT = 0.5


class QueueFullError(OverloadedError):
    """A bound on what waits would be passed.

    Args:
        message: As for every error.
        detail: Likewise.
        model: Whose rows are bounded; None where it is bytes.
        easing: Classes whose requests would make room by their end; None for everybody's. Those that have no more than
            what is kept for them would not: that is kept for them still.
    """

    def __init__(
        self,
        message: str,
        detail: Mapping[str, Any],
        model: str | None = None,
        easing: AbstractSet[CallerClass] | None = None,
    ) -> None:
        super().__init__(message, detail)
        self._model = model
        self._easing = easing

    def is_eased_by(self, request: Pending) -> bool:
        """Whether the end of a request that waits would make room."""
        return self._model in {None, request.signature.model} and (
            self._easing is None or request.caller in self._easing
        )


class Admission:
    """The bounded queue's book-keeping.

    Rows are bounded for each model by itself: a slow model's queue must not make a fast one refuse. Of a request that
    will be cut, only as many rows count as one batch takes: its rest stands behind whatever came meanwhile, so that a
    million rows in one request keep nobody waiting longer than a batch, and must not shut anybody out. A request that
    alone exceeds a bound is admitted when nothing else waits, or it could never be served. Bytes are the process's
    memory and are bounded for all together.

    Where classes of callers are set, half of each bound is kept for them, by their weights, and the other half is for
    whoever comes first: so a class that floods the server shuts no other out.

    Args:
        max_rows: Rows of one model that may wait, where its own settings don't say.
        max_bytes: Bytes that admitted requests may hold until they are answered.
        classes: The classes of callers.

    Attributes:
        requests: Requests without an answer.
        rows: Rows that wait, of all models.
        bytes: Bytes that requests without an answer hold.
        models: What waits for each model, by name.
        work_s: Returns how long the engine will take for what waits for a model.
    """

    def __init__(self, *, max_rows: int, max_bytes: int, classes: CallerClasses | None = None) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._classes = CallerClasses() if classes is None else classes
        self._class_bytes: dict[CallerClass, int] = dict.fromkeys(self._classes.all, 0)
        self.requests = 0
        self.rows = 0
        self.bytes = 0
        self.models: dict[str, ModelQueue] = {}
        self.work_s: Callable[[ModelQueue], float] = lambda model: model.rows * model.seconds_per_row

    def model(self, signature: ServedSignature) -> ModelQueue:
        """Return the part of the queue of a signature's model, with the settings that the signature came with."""
        settings = signature.settings
        model = self.models.get(signature.model)
        if model is None:
            model = self.models[signature.model] = ModelQueue(signature.model, self._max_rows)
        model.max_rows = self._max_rows if settings.max_queue_rows is None else settings.max_queue_rows
        model.weight = settings.weight
        model.priority = settings.priority
        for part in model.parts.values():
            self._keep(model, part)
        return model

    def part(self, model: ModelQueue, caller: CallerClass) -> ClassQueue:
        """Return a class's part of a model's queue."""
        part = model.parts.get(caller)
        if part is None:
            for each in self._classes.all:
                part = model.parts[each] = ClassQueue(each)
                self._keep(model, part)
            part = model.parts[caller]
        return part

    def _keep(self, model: ModelQueue, part: ClassQueue) -> None:
        part.kept_rows = kept_rows(model.max_rows, self._classes, part.caller)

    def admit(
        self, model: ModelQueue, rows: int, counted_rows: int, byte_count: int, caller: CallerClass | None = None
    ) -> None:
        """Count a request in; of one that needs no run, `rows` is 0.

        Raises:
            QueueFullError: A bound would be passed; carries `retry_after_ms`.
        """
        if rows and model.rows and model.counted_rows + counted_rows > model.max_rows:
            raise self._too_many_rows(model, counted_rows, caller)
        if self.requests and self.bytes + byte_count > self._max_bytes:
            raise self._too_many_bytes(model, byte_count, caller)
        if caller is not None:
            self._admit_class(model, self.part(model, caller), rows, counted_rows, byte_count)
        self.requests += 1
        self.rows += rows
        model.rows += rows
        model.counted_rows += counted_rows
        self.bytes += byte_count

    def _admit_class(self, model: ModelQueue, part: ClassQueue, rows: int, counted_rows: int, byte_count: int) -> None:
        own_rows = part.caller.max_queue_rows
        if own_rows is not None and rows and part.rows and part.rows + counted_rows > own_rows:
            bound = f"its bound is max_queue_rows = {own_rows}"
            raise self._too_many_of_class(model, part, counted_rows, bound, {part.caller})
        rows_then = model.counted_rows + counted_rows
        if rows and model.rows and rows_then > model.max_rows * (1 - KEPT):
            others = [max(each.kept_rows - each.rows, 0) for each in model.parts.values() if each is not part]
            if rows_then > model.max_rows - sum(others):
                bound = f"{sum(others)} of max_queue_rows = {model.max_rows} are kept for other classes"
                easing = _classes_beyond_kept_rows(model, part.caller)
                raise self._too_many_of_class(model, part, counted_rows, bound, easing)
        bytes_then = self.bytes + byte_count
        if self.requests and bytes_then > self._max_bytes * (1 - KEPT):
            kept_bytes = sum([max(unused, 0) for each, unused in self._unused_bytes() if each is not part.caller])
            if bytes_then > self._max_bytes - kept_bytes:
                bound = f", {kept_bytes} of them are kept for other classes"
                raise self._too_many_bytes(model, byte_count, part.caller, bound)
        self._class_bytes[part.caller] += byte_count
        part.rows += counted_rows
        part.requests_total += 1

    def _unused_bytes(self) -> list[tuple[CallerClass, int]]:
        """Return how many bytes are kept for each class and not in use; below 0 for one that uses more."""
        kept = self._max_bytes * KEPT
        return [(each, int(kept * self._classes.part(each)) - held) for each, held in self._class_bytes.items()]

    def refuse(self, request: Pending | None) -> None:
        """Count a request that there was no room for."""
        if request is not None and request.caller is not None:
            self.part(self.model(request.signature), request.caller).refused_total += 1

    def begin(self, batch: Batch, now: float) -> None:
        """Count a batch's rows out of the queue, and how long its requests waited."""
        lane = batch.parts[0].request.lane
        assert lane is not None
        counted_rows = batch.rows
        most_rows = batch.signature.most_counted_rows
        for part in batch.parts:
            request = part.request
            # All that was not a run was waiting, between the batches of a request that was cut too.
            request.queue_s = now - request.arrived_s - request.ran_s if request.batches else now - request.arrived_s
            request.batches += 1
            if request.rows > most_rows:
                # Its next rows count in the place of these.
                counted_rows += request.uncounted_rows(part.rows) - part.rows
        if lane.model.parts:
            for part in batch.parts:
                _count_class(part)
        self.start(lane.model, batch.rows, counted_rows)

    def restart(self, request: Pending, byte_count: int) -> None:
        """Count rows in that wait after all, of a request that was admitted; it now holds so many bytes more."""
        model, rows, counted_rows = self.model(request.signature), request.rows, request.counted_rows
        self.rows += rows
        model.rows += rows
        model.counted_rows += counted_rows
        self.bytes += byte_count
        if request.caller is not None:
            self._class_bytes[request.caller] += byte_count
            self.part(model, request.caller).rows += counted_rows

    def start(self, model: ModelQueue, rows: int, counted_rows: int) -> None:
        """Count rows out of the queue: they run, or were dropped."""
        self.rows -= rows
        model.rows -= rows
        model.counted_rows -= counted_rows

    def drop(self, request: Pending) -> None:
        """Count the rows of a request out that is over before they ran."""
        line, counted_rows = request.line, request.counted_rows
        assert line is not None
        self.start(line.lane.model, line.release(request), counted_rows)
        if line.part is not None:
            line.part.rows -= counted_rows

    def finish(self, byte_count: int, requests: int = 1) -> None:
        """Count requests out that were answered or dropped, and the bytes that they held together."""
        self.requests -= requests
        self.bytes -= byte_count

    def give_back(self, request: Pending) -> None:
        """Count the bytes out that a request held of its class's part."""
        if request.caller is not None:
            self._class_bytes[request.caller] -= request.byte_count

    def retry_after_ms(self, model: ModelQueue) -> int:
        """Return how long the rows of a model that wait now will take, in milliseconds, beside what else waits."""
        if not model.seconds_per_row:
            return FIRST_RETRY_MS
        weights = sum(other.weight for other in self.models.values() if other.rows or other is model)
        estimate = math.ceil(self.work_s(model) * weights / model.weight * 1000)
        return min(max(estimate, 1), MOST_RETRY_MS)

    def _too_many_rows(self, model: ModelQueue, counted_rows: int, caller: CallerClass | None) -> QueueFullError:
        text = (
            f"the queue of model {model.name!r} is full: {model.counted_rows} rows wait (of each request at most "
            f"max_batch_size count), this one would add {counted_rows}; the bound is max_queue_rows = {model.max_rows}"
        )
        easing = None if caller is None else _classes_beyond_kept_rows(model, caller)
        return QueueFullError(*self._told(model, text), model.name, easing)

    def _too_many_of_class(
        self, model: ModelQueue, part: ClassQueue, counted_rows: int, bound: str, easing: AbstractSet[CallerClass]
    ) -> QueueFullError:
        text = (
            f"the queue of model {model.name!r} is full for callers of class {part.caller.name!r}: {part.rows} rows of "
            f"theirs wait (of each request at most max_batch_size count), this one would add {counted_rows}; {bound}"
        )
        return QueueFullError(*self._told(model, text), model.name, easing)

    def _too_many_bytes(
        self, model: ModelQueue, byte_count: int, caller: CallerClass | None, kept: str = ""
    ) -> QueueFullError:
        text = (
            f"the queue is full: {self.requests} requests hold {self.bytes} bytes, this one for model {model.name!r} "
            f"has {byte_count}; the bound is max_queue_bytes = {self._max_bytes}{kept}"
        )
        easing = None
        if caller is not None:
            easing = {caller, *[each for each, unused in self._unused_bytes() if unused < 0]}
        return QueueFullError(*self._told(model, text), None, easing)

    def _told(self, model: ModelQueue, text: str) -> tuple[str, dict[str, Any]]:
        retry_after_ms = self.retry_after_ms(model)
        return f"{text}. Try again in {retry_after_ms} ms", {"retry_after_ms": retry_after_ms}


def kept_rows(max_rows: int, classes: CallerClasses, caller: CallerClass) -> int:
    """Return how many of the rows that may wait for a model are kept for a class."""
    return int(max_rows * KEPT * classes.part(caller))


def _classes_beyond_kept_rows(model: ModelQueue, caller: CallerClass) -> set[CallerClass]:
    return {caller, *[each.caller for each in model.parts.values() if each.rows > each.kept_rows]}


def _count_class(part: Part) -> None:
    request = part.request
    if request.line is None or request.line.part is None:
        return
    queue = request.line.part
    queue.rows -= request.uncounted_rows(part.rows)
    queue.rows_total += part.rows
    if request.batches == 1:
        queue.queue_s += request.queue_s
