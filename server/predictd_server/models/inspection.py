"""Inspection: what a daemon would serve of some models, without serving them.

Owns the walk over the versions that are wanted, and what a path means that is one version's directory; each version is
loaded, warmed up and judged as the daemon does it, and let go of again. Main thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from predictd_proto.errors import ConfigError, PredictdError
from predictd_proto.facts import safe_text
from predictd_proto.metadata import ModelMetadata
from predictd_server.models.files import ModelFile, default_name
from predictd_server.models.found import Found
from predictd_server.models.layouts import version_at
from predictd_server.models.policy import wanted
from predictd_server.models.registry import FAILED
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.version_loading import MOST_TEXT, VersionLoading, unloaded
from predictd_server.settings import Settings


@dataclass(frozen=True, slots=True)
class _Choice:
    """What is to be looked at of some entries.

    Attributes:
        entries: The entries.
        version: The one version of them that is meant; None for those that are wanted.
    """

    entries: tuple[ModelSettings, ...]
    version: int | None = None


def inspected(settings: Settings, configured: Sequence[ModelSettings] = ()) -> Iterator[ModelMetadata]:
    """Yield what the daemon would show of each version that it would serve, those that it can't serve among them.

    Args:
        settings: The server's, with the models to look at.
        configured: The entries of the configuration: what is set for a model there holds for its path too.

    Raises:
        ConfigError: A path leads to nothing that can be served, or a setting is wrong.
        ModelLoadError: All there is of a model is broken.
    """
    choices = [(choice, Repository(choice.entries)) for choice in _choices(settings.models, configured)]
    for choice, repository in choices:
        if choice.version is None:
            repository.check(is_watched=False)
    loading = VersionLoading(settings)
    for choice, repository in choices:
        for found in repository.look().values():
            yield from _versions(loading, found, choice.version)


def _choices(entries: Sequence[ModelSettings], configured: Sequence[ModelSettings]) -> Iterator[_Choice]:
    """Yield the entries as they are meant, those that may share no name together."""
    known = {os.path.realpath(found.settings.path): found.settings for found in Repository(configured).look().values()}
    whole: list[ModelSettings] = []
    for entry in entries:
        if entry in configured:
            whole.append(entry)
            continue
        number = version_at(entry.path)
        path = entry.path if number is None else entry.path.parent
        chosen = known.get(os.path.realpath(path)) or replace(entry, path=path)
        named = replace(chosen, name=entry.name or chosen.name)
        if number is None:
            whole.append(named)
        else:
            yield _Choice((replace(named, name=named.name or default_name(path), versions=(number,)),), number)
    if whole:
        yield _Choice(tuple(whole))


def _versions(loading: VersionLoading, found: Found, only: int | None) -> Iterator[ModelMetadata]:
    for version, reason in sorted(found.problems.items(), reverse=True):
        if only in {None, version}:
            yield _broken(found, version, reason)
    chosen = wanted(found) if only is None else tuple(found.versions.keys() & {only})
    if not (only is None or chosen or only in found.problems):
        raise ConfigError("; ".join(found.notes))
    for version in chosen:
        yield _inspected(loading, found.versions[version], found.settings)


def _inspected(loading: VersionLoading, file: ModelFile, settings: ModelSettings) -> ModelMetadata:
    try:
        served = loading.load(file, settings)
    except PredictdError as error:
        return unloaded(file, FAILED, error.message).metadata
    except Exception as error:  # code of a model or of a user's module
        return unloaded(file, FAILED, f"{file.path}: {type(error).__name__}: {error}").metadata
    for signature in served.signatures.values():
        signature.runner.close()
    return served.metadata


def _broken(found: Found, version: int, reason: str) -> ModelMetadata:
    return ModelMetadata(name=found.settings.name, version=version, state=FAILED, error=safe_text(reason, MOST_TEXT))
