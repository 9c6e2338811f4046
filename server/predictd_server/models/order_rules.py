"""The rules of orders: which file an order means, what can be no label, and how it is told what was done or refused.

Pure: it looks at nothing but its arguments and does nothing. Models thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.errors import InvalidRequestError, ModelLoadError, VersionNotFoundError
from predictd_proto.facts import safe_text
from predictd_proto.limits import MAX_LIST_ITEMS, MAX_MESSAGE_TEXT
from predictd_server.models.fields import KEY_PATTERNS
from predictd_server.models.files import ModelFile
from predictd_server.models.lifecycle import KEPT, Standing, labels_of, newest_wanted


def check_label(standing: Standing, label: str, version: int | None, *, is_coming: bool) -> None:
    """Refuse a label that can't be set, or can't be taken away.

    Args:
        standing: How the model stands.
        label: The label.
        version: What it is to point at; None to take it away.
        is_coming: That version is being loaded.

    Raises:
        VersionNotFoundError: The version is not loaded, or there is no such label to be taken away.
        InvalidRequestError: The text can't be a label.
    """
    name, labels = standing.found.settings.name, labels_of(standing)
    if version is None:
        if label not in labels:
            have = ", ".join(f"{key!r} (version {number})" for key, number in sorted(labels.items())) or "none"
            text = f"model {name!r} has no label {label!r}; it has {have}"
            raise VersionNotFoundError(text)
    elif version not in standing.ready:
        ready = ", ".join(map(str, sorted(standing.ready))) or "none"
        why = f"is not loaded; loaded: {ready}. Load it first: `predictd load {name} {version}`"
        if is_coming:
            why = "is being loaded; set it when that is done"
        text = f"model {name!r}: the label {label!r} can't point at version {version}, which {why}"
        raise VersionNotFoundError(text)
    pattern, rule = KEY_PATTERNS["labels"]
    if not pattern.fullmatch(label):
        text = f"{label!r} can't be a label; expected {rule}"
        raise InvalidRequestError(text)


def file_to_load(standing: Standing, version: int | None) -> ModelFile:
    """Return the file of the version that an order means, or of the newest that is wanted.

    Raises:
        ModelLoadError: There is none that could be loaded.
        VersionNotFoundError: There is no such version.
    """
    found = standing.found
    if version is None:
        version = newest_wanted(standing)
    if version is None or not (found.versions or found.problems):
        raise nothing_to_load(standing)
    if version in found.problems:
        raise broken(standing, version)
    if version not in found.versions:
        raise no_such_version(found.settings.name, version, sorted(found.versions))
    return found.versions[version]


def nothing_to_load(standing: Standing) -> ModelLoadError:
    """Return what is wrong with a model of which no version can be loaded."""
    found = standing.found
    why = "; ".join([*found.problems.values(), *found.notes]) or "its configuration wants none of those that are there"
    kept = f"; {KEPT}" if standing.ready else ""
    return ModelLoadError(f"model {found.settings.name!r} has no version that could be loaded: {why}{kept}")


def broken(standing: Standing, version: int) -> ModelLoadError:
    """Return what is wrong with a version's files."""
    kept = f"; {KEPT}" if version in standing.ready else ""
    return ModelLoadError(f"{standing.found.problems[version]}{kept}")


def told(done: list[str], errors: list[ModelLoadError]) -> list[str]:
    """Return what was done.

    Raises:
        ModelLoadError: Something failed; the text holds both.
    """
    if errors:
        also = f" (done: {'; '.join(done)})" if done else ""
        text = "; ".join(error.message for error in errors) + also
        raise ModelLoadError(text)
    return done


def no_such_version(name: str, version: int, there: list[int]) -> VersionNotFoundError:
    """Return that there is no such version, and which there are."""
    have = ", ".join(map(str, there)) or "none"
    return VersionNotFoundError(f"model {name!r} has no version {version} to load or unload; there are: {have}")


def cut_to_fit(done: Sequence[str]) -> tuple[str, ...]:
    """Return what was done as a message can hold it: where it is too much, the end says how much is left out."""
    kept = list(done[:MAX_LIST_ITEMS])
    if len(done) > MAX_LIST_ITEMS:
        kept[-1] = f"and {len(done) - MAX_LIST_ITEMS + 1} more"
    return tuple(safe_text(text, MAX_MESSAGE_TEXT) for text in kept)
