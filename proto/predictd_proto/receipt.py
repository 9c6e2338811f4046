"""The receipt: what the server did for one request, and how long each part of it took.

Owns `Receipt`. It measures nothing. Any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from predictd_proto.checks import check_ints, check_numbers, check_texts

_MAX_TEXT = 256
_MAX_INT = (1 << 63) - 1
_TEXTS = ("model", "closed_by")
_DURATIONS = ("queue_ms", "assemble_ms", "execute_ms", "split_ms")
_COUNTS = ("version", "batch_rows", "padding_rows", "batches", "queued_rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the server did for one request.

    Attributes:
        model: The model's name.
        version: The model version that answered.
        queue_ms: Waiting: from the request's arrival until its batch was closed, and between its batches where it was
            cut into several.
        assemble_ms: Copying the batch together, for all batches that this request was in.
        execute_ms: Running the graph, likewise.
        split_ms: Cutting the outputs apart, likewise.
        batch_rows: Rows of callers in the (last) batch, this request's among them.
        padding_rows: Rows added to that batch to reach an allowed size.
        batches: Batches that the request was cut into.
        closed_by: Why the (last) batch left. "idle": the engine was free for this one request; "gathered": it became
            free for those that had come meanwhile; "full": no more fitted in; "shared": no more was taken in, since
            other models wanted the engine; "window": the batch window was over; "drain": the server was shutting down.
            Without a batch of its own: "cache": the answer was kept from an earlier request for the same; "joined":
            another request for the same was under way, and this one got its answer (without batches: it was there by
            then, for an earlier run of the same task).
        queued_rows: Rows waiting at the server when this answer left: its load.
    """

    model: str
    version: int
    queue_ms: float = 0.0
    assemble_ms: float = 0.0
    execute_ms: float = 0.0
    split_ms: float = 0.0
    batch_rows: int = 0
    padding_rows: int = 0
    batches: int = 1
    closed_by: str = "idle"
    queued_rows: int = 0

    def __post_init__(self) -> None:
        check_texts(_TEXTS, (self.model, self.closed_by), _MAX_TEXT)
        durations = (self.queue_ms, self.assemble_ms, self.execute_ms, self.split_ms)
        check_numbers(_DURATIONS, durations)
        counts = (self.version, self.batch_rows, self.padding_rows, self.batches, self.queued_rows)
        check_ints(_COUNTS, counts, 0, _MAX_INT)

    @property
    def server_ms(self) -> float:
        """The time the request spent waiting and running in the server, in milliseconds."""
        return self.queue_ms + self.assemble_ms + self.execute_ms + self.split_ms

    def __str__(self) -> str:
        batch = _rows(self.batch_rows) + (f" + {self.padding_rows} padding" if self.padding_rows else "")
        if self.batches > 1:
            batch = f"{self.batches} batches, the last of {batch}"
        elif not self.batches and self.closed_by in ("cache", "joined"):
            batch = "no batch: the answer was kept"
        elif self.batches:
            batch = f"a batch of {batch}"
        else:
            batch = "no batch: there were no rows"
        times = f"queue {self.queue_ms:.2f}, assemble {self.assemble_ms:.2f}, execute {self.execute_ms:.2f}, "
        return (
            f"{self.model!r} version {self.version} in {self.server_ms:.2f} ms ({times}split {self.split_ms:.2f}), "
            f"{batch}, closed: {self.closed_by}; {_rows(self.queued_rows)} waited behind it"
        )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
