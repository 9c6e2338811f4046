"""Totals since the start, by name: what `predictd status` and the metrics show.

Owns the names, so that none is misspelt where it is counted. Each counter is written by one thread and read by any.
"""

from __future__ import annotations


class Counters:
    """Totals since the start."""

    __slots__ = (
        "batches_total",
        "cache_hits_total",
        "cache_joined_total",
        "cache_misses_total",
        "framed_inputs_total",
        "framed_outputs_total",
        "padding_rows_total",
        "replies_lost_total",
        "requests_cancelled_total",
        "requests_expired_total",
        "requests_failed_total",
        "requests_joined_total",
        "requests_kept_total",
        "requests_malformed_total",
        "requests_ok_total",
        "requests_overloaded_total",
        "requests_refused_total",
        "requests_released_total",
        "requests_total",
        "rows_total",
        "runs_beside_total",
        "runs_inline_total",
        "runs_isolating_total",
        "runs_threaded_total",
        "segments_mapped_total",
        "segments_refused_total",
        "segments_released_total",
        "shared_inputs_total",
        "shared_outputs_total",
        "unknown_classes_total",
        "unseen_shapes_total",
    )

    def __init__(self) -> None:
        self.batches_total = 0
        self.cache_hits_total = 0
        self.cache_joined_total = 0
        self.cache_misses_total = 0
        self.framed_inputs_total = 0
        self.framed_outputs_total = 0
        self.padding_rows_total = 0
        self.replies_lost_total = 0
        self.requests_cancelled_total = 0
        self.requests_expired_total = 0
        self.requests_failed_total = 0
        self.requests_joined_total = 0
        self.requests_kept_total = 0
        self.requests_malformed_total = 0
        self.requests_ok_total = 0
        self.requests_overloaded_total = 0
        self.requests_refused_total = 0
        self.requests_released_total = 0
        self.requests_total = 0
        self.rows_total = 0
        self.runs_beside_total = 0
        self.runs_inline_total = 0
        self.runs_isolating_total = 0
        self.runs_threaded_total = 0
        self.unknown_classes_total = 0
        self.segments_mapped_total = 0
        self.segments_refused_total = 0
        self.segments_released_total = 0
        self.shared_inputs_total = 0
        self.shared_outputs_total = 0
        self.unseen_shapes_total = 0

    def count_batch(self, rows: int, size: int) -> None:
        """Count a batch of so many rows, padded to so many."""
        self.batches_total += 1
        self.rows_total += rows
        self.padding_rows_total += size - rows

    def count_refusal(self, code: str) -> None:
        """Count a request that was not admitted, by the error's code."""
        if code == "overloaded":
            self.requests_overloaded_total += 1
        else:
            self.requests_refused_total += 1

    def count_unread(self, code: str) -> None:
        """Count a message that could not be read, by the error's code."""
        if code == "segment_refused":
            self.requests_refused_total += 1
        else:
            self.requests_malformed_total += 1

    def snapshot(self) -> dict[str, int]:
        """Return all totals by name."""
        return {name: getattr(self, name) for name in self.__slots__}
