"""The climb: from the settings that are set to better ones, a change at a time.

Owns the trial that has the best ones so far. Of two trials that are there at a time each is measured in turns with the
other. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

from predictd_proto.errors import ModelLoadError, PredictdError
from predictd_server.tuning.comparison import Gain, gain_of
from predictd_server.tuning.found import Budget, Goal, Outcome
from predictd_server.tuning.trial import Loaded, Start, Trial
from predictd_server.tuning.variant import Variant


@dataclass(slots=True)
class _Figures:
    """What one trial reached, by rounds."""

    rows_per_second: list[float] = field(default_factory=list)
    per_call: list[float] = field(default_factory=list)

    def add(self, by_rows: dict[int, float]) -> None:
        self.rows_per_second.append(max(rows / seconds for rows, seconds in by_rows.items()))
        self.per_call.append(1 / by_rows[min(by_rows)])


class Climb:
    """The best settings so far, and the trial that has them.

    Args:
        start: Starts a trial.
        goal: What candidates are judged by.
        budget: How much is measured.
        tell: Called with what is being done.
    """

    def __init__(self, start: Start, goal: Goal, budget: Budget, tell: Callable[[str], None]) -> None:
        self._start, self._goal, self._budget, self._tell = start, goal, budget, tell
        self.best = Variant()
        self.trial = start(self.best)
        self.present = self.trial.loaded
        self._sizes = _measured_sizes(self.present)
        self.outcomes: list[Outcome] = []

    def measure_present(self) -> None:
        """Measure the present settings alone."""
        self.outcomes.append(_alone(self.trial, self._sizes, self._budget))

    def step(self, variant: Variant, *, is_advice: bool = False) -> None:
        """Try a candidate on top of the best so far, and go on from it if it is better."""
        self._tell(f"trying {variant}")
        try:
            challenger = self._start(self.best | variant)
        except PredictdError as error:
            self.outcomes.append(Outcome(variant, failure=error.message))
            return
        loser = challenger
        try:
            _check_effect(challenger, variant)
            outcome = _compared(self.trial, challenger, variant, self._sizes, self._goal, self._budget)
            if outcome.is_kept:
                loser, self.trial, self.best = self.trial, challenger, self.best | variant
                outcome = replace(outcome, is_kept=not is_advice, is_advice=is_advice)
        except PredictdError as error:
            outcome = Outcome(variant, failure=error.message)
        finally:
            loser.close()
        self.outcomes.append(outcome)

    def confirm(self) -> Outcome | None:
        """Compare what was kept with the present settings once more; go back to these if it is no better after all.

        Of many candidates the one that was lucky looks best, and small losses add up from step to step.
        """
        if self.best == Variant():
            return None
        self._tell("comparing what is kept with the settings as they are")
        try:
            original = self._start(Variant())
        except PredictdError as error:
            return Outcome(self.best, failure=error.message)
        loser = original
        try:
            outcome = self._judged(original)
            if not outcome.is_kept:
                loser, self.trial, self.best = self.trial, original, Variant()
                self.outcomes = [replace(each, is_kept=False) for each in self.outcomes]
        finally:
            loser.close()
        return outcome

    def _judged(self, original: Trial) -> Outcome:
        try:
            return _compared(original, self.trial, self.best, self._sizes, self._goal, self._budget)
        except PredictdError as error:
            return Outcome(self.best, failure=error.message)

    def close(self) -> None:
        """End the trial."""
        self.trial.close()


def _check_effect(trial: Trial, variant: Variant) -> None:
    """Refuse to measure what was tried and left out while the model was loaded."""
    idle = [note for note in trial.loaded.notes if any(f"{name} = " in note for name in variant.model)]
    if idle:
        raise ModelLoadError(idle[0])


def _measured_sizes(loaded: Loaded) -> list[int]:
    """Return the sizes that variants are compared at: one row, the largest, and one between."""
    if not loaded.sizes:
        return [1]
    return sorted({1, loaded.sizes[len(loaded.sizes) // 2], loaded.sizes[-1]})


def _alone(trial: Trial, sizes: list[int], budget: Budget) -> Outcome:
    by_rows = {rows: median(trial.durations_s(rows, budget.seconds / len(sizes) / 2)) for rows in sizes}
    best = max(rows / seconds for rows, seconds in by_rows.items())
    return Outcome(Variant(), trial.loaded.runner, best, by_rows[min(by_rows)])


def _compared(
    trial: Trial, challenger: Trial, variant: Variant, sizes: list[int], goal: Goal, budget: Budget
) -> Outcome:
    before, after = _Figures(), _Figures()
    rounds = budget.rounds()
    seconds = budget.seconds / rounds / len(sizes) / 2
    for number in range(rounds):
        pair = [(trial, before), (challenger, after)]
        # In turns who comes first: whatever one leaves behind in caches and clocks the other one meets.
        for each, figures in pair if number % 2 else reversed(pair):
            figures.add({rows: median(each.durations_s(rows, seconds)) for rows in sizes})
    throughput, latency = (
        gain_of(before.rows_per_second, after.rows_per_second),
        gain_of(before.per_call, after.per_call),
    )
    return Outcome(
        variant,
        challenger.loaded.runner,
        median(after.rows_per_second),
        1 / median(after.per_call),
        throughput,
        latency,
        is_kept=_is_better(throughput, latency, goal),
    )


def _is_better(throughput: Gain, latency: Gain, goal: Goal) -> bool:
    if goal is Goal.THROUGHPUT:
        return throughput.is_certain
    if goal is Goal.LATENCY:
        return latency.is_certain
    is_any = throughput.is_certain or latency.is_certain
    return is_any and not throughput.is_loss and not latency.is_loss
