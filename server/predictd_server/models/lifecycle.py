"""The lifecycle's rules: from what there is of a model, what is wanted of it and what is served to the next steps.

Owns every decision on which version comes, which goes and which stays in another's place. Pure: it looks at nothing but
its arguments and does nothing. Models thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from predictd_server.models.contents import Fingerprint
from predictd_server.models.files import ModelFile
from predictd_server.models.found import Found
from predictd_server.models.policy import wanted

#: What becomes of a version that is served when its files can't be.
KEPT = "what was loaded before is still served"


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt to load a version that failed.

    Attributes:
        fingerprint: The state of its files then: the same files are not tried again unasked.
        reason: Why.
        missing_bytes: How much of the memory limit was missing, where that was the reason: it is tried again when a
            version has left memory.
    """

    fingerprint: Fingerprint
    reason: str
    missing_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Will:
    """What was ordered beyond the policy, and done; `reload` forgets it. An order that failed was never part of it.

    Attributes:
        loaded: Versions that were ordered to be served.
        unloaded: Versions that were ordered not to be.
        is_off: The model as a whole was ordered not to be; `loaded` are excepted.
        labels: Labels that were set (a version) or taken away (None).
    """

    loaded: frozenset[int] = frozenset()
    unloaded: frozenset[int] = frozenset()
    is_off: bool = False
    labels: Mapping[str, int | None] = field(default_factory=dict)

    def with_loaded(self, version: int) -> Will:
        """Return the will after an order to load a version."""
        return replace(self, loaded=self.loaded | {version}, unloaded=self.unloaded - {version})

    def with_newest(self, version: int) -> Will:
        """Return the will after an order to load whatever is wanted, of which this is the newest."""
        return replace(self, unloaded=self.unloaded - {version}, is_off=False)

    def forgotten(self) -> Will:
        """Return the will after an order to do again what the policy says; labels stay."""
        return Will(labels=self.labels)

    def with_unloaded(self, version: int | None) -> Will:
        """Return the will after an order to unload a version, or None for all there are and all that will come."""
        if version is None:
            return replace(self, loaded=frozenset(), unloaded=frozenset(), is_off=True)
        return replace(self, loaded=self.loaded - {version}, unloaded=self.unloaded | {version})

    def with_label(self, label: str, version: int | None) -> Will:
        """Return the will after an order to set a label, or to take it away."""
        return replace(self, labels={**self.labels, label: version})


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands.

    Attributes:
        found: What there is of it.
        ready: The versions that are served, with the state of the files that they were loaded from.
        failures: The last attempts of those that could not be loaded.
        will: What was ordered.
    """

    found: Found
    ready: Mapping[int, Fingerprint] = field(default_factory=dict)
    failures: Mapping[int, Failure] = field(default_factory=dict)
    will: Will = Will()


def labels_of(standing: Standing) -> dict[str, int]:
    """Return the versions by label: the configuration's, and over them what was ordered."""
    merged: dict[str, int | None] = {**standing.found.settings.labels, **standing.will.labels}
    return {label: version for label, version in merged.items() if version is not None}


def wanted_versions(standing: Standing) -> tuple[int, ...]:
    """Return the versions to serve, newest first: the policy's, and those that were ordered or given a label."""
    will, ready, labels = standing.will, standing.ready, labels_of(standing)
    # Whom a label of the configuration named before it was moved, it keeps no longer.
    found = replace(standing.found, settings=replace(standing.found.settings, labels=labels))
    there = set(found.versions) | set(ready)
    chosen = set() if will.is_off else set(wanted(found, ready)) | (set(labels.values()) & there)
    chosen = (chosen - will.unloaded) | (will.loaded & there)
    return tuple(sorted(chosen, reverse=True))


def due_loads(standing: Standing, *, retries: bool = False) -> tuple[ModelFile, ...]:
    """Return the versions to load now, newest first: those that are wanted and not served, or whose files changed.

    Args:
        standing: How the model stands.
        retries: Try files again that failed as they are.
    """
    found = standing.found
    return tuple(
        found.versions[version]
        for version in wanted_versions(standing)
        if version in found.versions and _is_due(standing, version, retries=retries)
    )


def _is_due(standing: Standing, version: int, *, retries: bool) -> bool:
    state = standing.found.fingerprints.get(version)
    if version in standing.ready and standing.ready[version] == state:
        return False
    failure = standing.failures.get(version)
    return retries or failure is None or failure.fingerprint != state


def waiting_for_room(standing: Standing) -> tuple[ModelFile, ...]:
    """Return the versions that are wanted and did not fit into memory when they were tried, newest first."""
    found, failures = standing.found, standing.failures
    return tuple(
        found.versions[version]
        for version in wanted_versions(standing)
        if version in found.versions and version in failures and failures[version].missing_bytes is not None
    )


def due_unloads(standing: Standing) -> tuple[int, ...]:
    """Return the versions that may go now, oldest first.

    For each wanted version that isn't served (it failed) the newest of the others stays in its place, unless it was
    ordered to go.
    """
    chosen = set(wanted_versions(standing))
    surplus = sorted(set(standing.ready) - chosen)
    ordered = [version for version in surplus if standing.will.is_off or version in standing.will.unloaded]
    others = [version for version in surplus if version not in ordered]
    stand_ins = len(chosen - set(standing.ready))
    going = others[: max(len(others) - stand_ins, 0)]
    return tuple(sorted(ordered + going))


def newest_wanted(standing: Standing) -> int | None:
    """Return the version that an order to load means which names none; None where there is nothing to load.

    One that should be the newest and whose files are broken is meant too, so that it is told and not passed over.
    """
    able = replace(standing, will=standing.will.forgotten())
    loadable = [version for version in wanted_versions(able) if version in standing.found.versions]
    return max([*loadable, *wanted_problems(able)], default=None)


def wanted_problems(standing: Standing) -> dict[int, str]:
    """Return the versions that would be wanted if there were nothing wrong with their files, and what that is.

    A version that a label or the default names and that is not there at all may come later: that is no problem yet.
    """
    found = standing.found
    broken = {version: text for version, text in found.problems.items() if version in found.fingerprints}
    # As if they were served: then the policy counts them as there.
    chosen = wanted_versions(replace(standing, ready={version: found.fingerprints[version] for version in broken}))
    return {version: text for version, text in sorted(broken.items()) if version in chosen}
