"""A batch: the parts that run together, and what came of running them.

Owns the two records that travel between core, pump and engine. No behaviour beyond their own arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from predictd_proto.errors import PredictdError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from predictd_server.serving.pending import Part
    from predictd_server.serving.served import ServedSignature

#: Why a batch left.
IDLE, GATHERED, FULL, SHARED, WINDOW, DRAIN = "idle", "gathered", "full", "shared", "window", "drain"

#: What stands in its place where a request had no batch of its own.
CACHE, JOINED = "cache", "joined"


@dataclass(slots=True, eq=False)
class Batch:
    """Parts that run together.

    Attributes:
        signature: What to run.
        parts: In order of arrival.
        rows: Sum of the parts' rows.
        size: The allowed batch size that is run; `size - rows` rows are padding.
        shapes: Per input, the shape of one row.
        closed_by: Why the batch left.
        closed_s: When it was closed (monotonic).
        busy_s: Seconds of the engine that it took, the search for a culprit included.
        is_searched: It failed and was run in parts, in search for the culprit.
    """

    signature: ServedSignature
    parts: list[Part]
    rows: int
    size: int
    shapes: tuple[tuple[int, ...], ...]
    closed_by: str
    closed_s: float
    busy_s: float = 0.0
    is_searched: bool = False

    @property
    def expected_s(self) -> float:
        """Expected duration of the run in seconds."""
        return self.signature.costs.expected_s(self.size, self.shapes)


@dataclass(slots=True, eq=False)
class Run:
    """What came of running some parts of a batch: outputs, or an error for all of them.

    Attributes:
        parts: The parts that were run together.
        rows: Sum of their rows.
        size: Rows that were run, padding included.
        outputs: One array per output, `size` rows each; None when it failed.
        error: Why it failed; None when it didn't.
        assemble_s: Seconds spent on copying the inputs together.
        execute_s: Seconds spent in the graph.
    """

    parts: list[Part]
    rows: int
    size: int
    outputs: list[NDArray[Any]] | None
    error: PredictdError | None
    assemble_s: float = 0.0
    execute_s: float = 0.0


def check_rows(outputs: list[np.ndarray[Any, Any]], size: int) -> str | None:
    """Return what is wrong with a batch's outputs, or None: each must have one row per input row."""
    for index, output in enumerate(outputs):
        if output.ndim == 0 or output.shape[0] != size:
            return f"output {index} has shape {list(output.shape)} for {size} rows"
    return None
