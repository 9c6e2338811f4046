"""Shown versions: those of the models' versions that one message tells of.

Owns which are left out where there are more than it holds: a directory that a training job writes to for a year has
thousands. Pure; any thread.
"""

from __future__ import annotations

from collections import Counter

from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_proto.metadata import ModelMetadata
from predictd_server.models.registry import AVAILABLE, FAILED


def shown_versions(models: tuple[ModelMetadata, ...]) -> tuple[ModelMetadata, ...]:
    """Return as many versions as a message holds, in the same order.

    What is served, or comes or goes, is told of before what is only there; of that each model's newest come first.

    Args:
        models: The versions, those of one model newest first.
    """
    if len(models) <= MAX_LIST_ITEMS:
        return models
    idle: Counter[str] = Counter()
    ranked: list[tuple[int, int]] = []
    for index, metadata in enumerate(models):
        is_idle = metadata.state in {AVAILABLE, FAILED}
        idle[metadata.name] += is_idle
        ranked.append((idle[metadata.name] * is_idle, index))
    return tuple([models[index] for _, index in sorted(sorted(ranked)[:MAX_LIST_ITEMS], key=lambda item: item[1])])
