"""Admission: which requests are queued and which are refused at once, with a reason.

Owns the bounds on what waits (each model's rows, everybody's bytes) and the estimate of when a retry is worth it.
Pure; pump thread only, but for the plain numbers that the control thread reads.
"""

from __future__ import annotations

import math

from predictd_proto.errors import OverloadedError
from predictd_server.serving.model_queue import ModelQueue
from predictd_server.serving.served import ServedSignature

#: Until a first batch has run there is no rate to estimate from.
FIRST_RETRY_MS = 100
MOST_RETRY_MS = 10_000


class Admission:
    """The bounded queue's book-keeping.

    Rows are bounded for each model by itself: a slow model's queue must not make a fast one refuse. Of a request that
    will be cut, only as many rows count as one batch takes: its rest stands behind whatever came meanwhile, so that a
    million rows in one request keep nobody waiting longer than a batch, and must not shut anybody out. A request that
    alone exceeds a bound is admitted when nothing else waits, or it could never be served. Bytes are the process's
    memory and are bounded for all together.

    Args:
        max_rows: Rows of one model that may wait, where its own settings don't say.
        max_bytes: Bytes that admitted requests may hold until they are answered.

    Attributes:
        requests: Requests without an answer.
        rows: Rows that wait, of all models.
        bytes: Bytes that requests without an answer hold.
        models: What waits for each model, by name.
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.requests = 0
        self.rows = 0
        self.bytes = 0
        self.models: dict[str, ModelQueue] = {}

    def model(self, signature: ServedSignature) -> ModelQueue:
        """Return the part of the queue of a signature's model, with the settings that the signature came with."""
        settings = signature.settings
        model = self.models.get(signature.model)
        if model is None:
            model = self.models[signature.model] = ModelQueue(signature.model, self._max_rows)
        model.max_rows = self._max_rows if settings.max_queue_rows is None else settings.max_queue_rows
        model.share.weight = settings.weight
        return model

    def admit(self, model: ModelQueue, rows: int, counted_rows: int, byte_count: int) -> None:
        """Count a request in; of one that needs no run, `rows` is 0.

        Raises:
            OverloadedError: A bound would be passed; carries `retry_after_ms`.
        """
        if rows and model.rows and model.counted_rows + counted_rows > model.max_rows:
            raise self._too_many_rows(model, counted_rows)
        if self.requests and self.bytes + byte_count > self._max_bytes:
            raise self._too_many_bytes(model, byte_count)
        self.requests += 1
        self.rows += rows
        model.rows += rows
        model.counted_rows += counted_rows
        self.bytes += byte_count

    def restart(self, model: ModelQueue, rows: int, counted_rows: int, byte_count: int) -> None:
        """Count rows in that wait after all, of a request that was admitted; it now holds so many bytes more."""
        self.rows += rows
        model.rows += rows
        model.counted_rows += counted_rows
        self.bytes += byte_count

    def start(self, model: ModelQueue, rows: int, counted_rows: int) -> None:
        """Count rows out of the queue: they run, or were dropped."""
        self.rows -= rows
        model.rows -= rows
        model.counted_rows -= counted_rows

    def finish(self, byte_count: int, requests: int = 1) -> None:
        """Count requests out that were answered or dropped, and the bytes that they held together."""
        self.requests -= requests
        self.bytes -= byte_count

    def retry_after_ms(self, model: ModelQueue) -> int:
        """Return how long the rows of a model that wait now will take, in milliseconds, beside what else waits."""
        if not model.seconds_per_row:
            return FIRST_RETRY_MS
        weights = sum(other.share.weight for other in self.models.values() if other.rows or other is model)
        estimate = math.ceil(model.rows * model.seconds_per_row * weights / model.share.weight * 1000)
        return min(max(estimate, 1), MOST_RETRY_MS)

    def _too_many_rows(self, model: ModelQueue, counted_rows: int) -> OverloadedError:
        return self._overloaded(
            model,
            f"the queue of model {model.name!r} is full: {model.counted_rows} rows wait (of each request at most a "
            f"batch counts), this one would add {counted_rows}; the bound is max_queue_rows = {model.max_rows}",
        )

    def _too_many_bytes(self, model: ModelQueue, byte_count: int) -> OverloadedError:
        return self._overloaded(
            model,
            f"the queue is full: {self.requests} requests hold {self.bytes} bytes, this one for model {model.name!r} "
            f"has {byte_count}; the bound is max_queue_bytes = {self._max_bytes}",
        )

    def _overloaded(self, model: ModelQueue, text: str) -> OverloadedError:
        retry_after_ms = self.retry_after_ms(model)
        return OverloadedError(f"{text}. Try again in {retry_after_ms} ms", {"retry_after_ms": retry_after_ms})
