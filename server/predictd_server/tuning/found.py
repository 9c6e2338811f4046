"""What a search is asked for, and what it finds.

Owns the records. Pure; any thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from predictd_server.tuning.comparison import Gain
from predictd_server.tuning.variant import Variant

#: Larger batches are not tried: they would hold up everybody else for long.
_MOST_ROWS = 1024
#: A loss of a tenth is not to hide in the noise of a few.
_LEAST_ROUNDS = 7
_MOST_ROUNDS = 9


class Goal(Enum):
    """What a change is judged by."""

    BOTH = "both"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is measured.

    Attributes:
        seconds: For each candidate, about.
        latency_s: The longest that a full batch may take.
        most_bytes: The most that a batch's inputs may hold.
        most_rows: The most rows that a batch may have.
        is_latency_demanded: Whether batches that take longer are left out even where throughput is lost.
    """

    seconds: float
    latency_s: float
    most_bytes: int = 1 << 40
    most_rows: int = _MOST_ROWS
    is_latency_demanded: bool = False

    def rounds(self) -> int:
        """Return how many times what is compared is run in turns."""
        return min(max(_LEAST_ROUNDS, round(self.seconds)), _MOST_ROUNDS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        variant: The candidate.
        runner: How the model was run with it; empty where it failed.
        rows_per_second: Its best throughput.
        p50_s: Its median latency for one row.
        throughput: Its gain of throughput over what was the best before it; None for the present settings.
        latency: Its gain of latency, larger is better; likewise.
        is_kept: Whether it is among the settings that were chosen.
        is_advice: Whether it is better, but not for this model alone to decide.
        failure: Why it can't be used; empty where it can.
    """

    variant: Variant
    runner: str = ""
    rows_per_second: float = 0.0
    p50_s: float = 0.0
    throughput: Gain | None = None
    latency: Gain | None = None
    is_kept: bool = False
    is_advice: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """Which batch sizes were chosen.

    Attributes:
        before: Those that the model is served with as it is set.
        sizes: The best ones that were found.
        throughput: The gain of full batches over those before.
        latency: The gain of a full batch's duration, larger is better.
        padding: The mean cost of padding before, over that of the chosen sizes.
        is_kept: Whether they are better than those before, by more than the noise.
    """

    before: tuple[int, ...]
    sizes: tuple[int, ...]
    throughput: Gain
    latency: Gain
    padding: float
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Found:
    """All that was found.

    Attributes:
        outcomes: In the order in which they were tried; the present settings first.
        best: The settings that were chosen, without batch sizes.
        durations_s: Median seconds of a run with these, by rows.
        batches: The batch sizes; None where rows are not merged.
        confirmed: What was chosen, compared once more with the present settings; None where nothing was.
        advised: Settings of the server that are better for this model, on top of all that was chosen.
    """

    outcomes: tuple[Outcome, ...]
    best: Variant
    durations_s: dict[int, float]
    batches: BatchChoice | None = None
    confirmed: Outcome | None = None
    advised: Variant = field(default_factory=Variant)
