"""The search: tries one change of the settings after the other, and keeps what is faster by more than the noise.

Owns the order of measuring. It starts no process itself: `start` does, so that it is tested without. At most two trials
are there at a time, which bounds the memory that is taken. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from predictd_server.tuning.batch_search import search_sizes
from predictd_server.tuning.climb import Climb
from predictd_server.tuning.found import Budget, Found, Goal
from predictd_server.tuning.trial import Start
from predictd_server.tuning.variant import Variant


def search(
    start: Start,
    variants: Iterable[Variant],
    goal: Goal,
    budget: Budget,
    tell: Callable[[str], None] = lambda text: None,
    *,
    are_sizes_tried: bool = True,
    are_server_settings_kept: bool = True,
) -> Found:
    """Try the candidates and the batch sizes.

    Args:
        start: Starts a trial.
        variants: The candidates, each tried on top of what was kept before it.
        goal: What they are judged by.
        budget: How much is measured.
        tell: Called with what is being done.
        are_sizes_tried: Whether batch sizes are chosen too.
        are_server_settings_kept: Whether candidates for the server may be kept. If not, they are tried after all else,
            so that nothing that is kept was measured with them.

    Raises:
        PredictdError: The model can't be served with the present settings.
    """
    kept, advice = list(variants), []
    if not are_server_settings_kept:
        kept, advice = [each for each in kept if not each.server], [each for each in kept if each.server]
    tell("loading the model as it is set")
    climb = Climb(start, goal, budget, tell)
    try:
        climb.measure_present()
        for variant in kept:
            climb.step(variant)
        confirmed = climb.confirm()
        best = climb.best
        tell("measuring batch sizes")
        durations_s, batches = search_sizes(climb.trial, climb.present, goal, budget)
        for variant in advice:
            climb.step(variant, is_advice=True)
    finally:
        climb.close()
    advised = Variant(server=climb.best.server) if advice else Variant()
    return Found(tuple(climb.outcomes), best, durations_s, batches if are_sizes_tried else None, confirmed, advised)
