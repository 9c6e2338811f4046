"""Which versions of a model are wanted, of those that there are.

Owns the one rule. It looks at nothing but its arguments. Any thread.
"""

from __future__ import annotations

from collections.abc import Collection

from predictd_server.models.found import Found
from predictd_server.models.settings import ALL_VERSIONS, ModelSettings


def wanted(found: Found, ready: Collection[int] = ()) -> tuple[int, ...]:
    """Return the versions to serve, newest first.

    These are the versions that the policy names, and with "the newest N" also those that a label or `default_version`
    names: whoever gave a version a name wants to reach it. What is served already does not go because its files broke,
    and the last one does not go because its files are gone: that takes an order to unload.

    Args:
        found: What there is.
        ready: The versions that are being served.
    """
    there = set(found.versions) | (set(ready) & set(found.problems))
    chosen = _chosen(found.settings, there)
    return tuple(sorted(chosen or ready, reverse=True))


def _chosen(settings: ModelSettings, there: set[int]) -> set[int]:
    policy = settings.versions
    if policy == ALL_VERSIONS:
        return there
    if isinstance(policy, tuple):
        return there & set(policy)
    assert isinstance(policy, int)
    return set(sorted(there, reverse=True)[:policy]) | (there & settings.named_versions)
