"""Inspection: what a daemon would serve of some models, without serving them.

Owns the walk over the versions that are wanted; each is loaded, warmed up and judged as the daemon does it, and let go
of again. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from predictd_proto.errors import PredictdError
from predictd_proto.facts import safe_text
from predictd_proto.metadata import ModelMetadata
from predictd_server.models.files import ModelFile
from predictd_server.models.found import Found
from predictd_server.models.policy import wanted
from predictd_server.models.registry import FAILED
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.version_loading import MOST_TEXT, VersionLoading, unloaded
from predictd_server.settings import Settings


def inspected(settings: Settings) -> Iterator[ModelMetadata]:
    """Yield what the daemon would show of each version that it would serve, those that it can't serve among them.

    Args:
        settings: The server's, with the models to look at.

    Raises:
        ConfigError: A path leads to nothing that can be served, or a setting is wrong.
        ModelLoadError: All there is of a model is broken.
    """
    repository = Repository(settings.models)
    repository.check(is_watched=False)
    loading = VersionLoading(settings)
    for found in repository.look().values():
        for version, reason in sorted(found.problems.items(), reverse=True):
            yield _broken(found, version, reason)
        for version in wanted(found):
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
