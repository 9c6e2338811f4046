"""The repository: which models and versions there are on disk, by the entries of the configuration.

Owns the sum over all entries, and which of it no daemon should start with. It keeps nothing but what the last look
refused, and never raises for what it finds. Main thread at the start, the loader thread from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from predictd_proto.errors import ConfigError, ModelLoadError
from predictd_server.models.files import EXPECTED, ModelFile, ModelFormat
from predictd_server.models.found import Found
from predictd_server.models.layouts import There, look_up
from predictd_server.models.settings import ModelSettings

__all__ = ["Found", "Repository"]

_FOR_ONE_FORMAT = {
    "tags": ModelFormat.SAVED_MODEL,
    "inputs": ModelFormat.FROZEN_GRAPH,
    "outputs": ModelFormat.FROZEN_GRAPH,
}


class Repository:
    """Looks up what the configuration's entries stand for.

    Args:
        models: The entries.

    Attributes:
        refused: What the last look met that belongs to no model of its own, and why it isn't served.
    """

    def __init__(self, models: Sequence[ModelSettings]) -> None:
        self._entries = tuple(models)
        self.refused: tuple[str, ...] = ()

    def look(self) -> dict[str, Found]:
        """Return what there is now, by name; of two models with one name the first."""
        found: dict[str, Found] = {}
        refused: list[str] = []
        for there in self._survey():
            refused += [*there.refused, *([] if there.error is None else [there.error.message])]
            for model in there.models:
                other = found.setdefault(model.settings.name, model)
                if other is not model:
                    refused.append(_taken_twice(other, model))
        self.refused = tuple(refused)
        return found

    def check(self, *, is_watched: bool) -> None:
        """Refuse a configuration with which a daemon should not even start.

        Args:
            is_watched: What is not there yet may come.

        Raises:
            ConfigError: A path leads to nothing that can be served, two models have one name, or a setting is for
                models of another format.
            ModelLoadError: All there is of a model is broken.
        """
        names: dict[str, Found] = {}
        for there in self._survey():
            if there.error is not None:
                raise there.error
            if not there.models and not is_watched:
                text = "; ".join([f"{there.entry.path}: no model in this directory; {EXPECTED}", *there.refused])
                raise ConfigError(text)
            for model in there.models:
                if not there.is_directory:
                    _check_alone(model, is_watched=is_watched)
                other = names.setdefault(model.settings.name, model)
                if other is not model:
                    raise ConfigError(_taken_twice(other, model))

    def _survey(self) -> list[There]:
        """Look up every entry; a model with an entry of its own is not taken from its directory once more."""
        survey = [look_up(entry) for entry in self._entries]
        own = {_key(model) for there in survey if not there.is_directory for model in there.models}
        for there in survey:
            if there.is_directory:
                there.models = [model for model in there.models if _key(model) not in own]
        return survey


def _key(model: Found) -> tuple[str, Path]:
    return model.settings.name, model.settings.path


def _check_alone(model: Found, *, is_watched: bool) -> None:
    """Refuse a model that has an entry of its own and can't be served as that says."""
    # What has versions may get others, of other formats too; a bare file never does.
    bare = next((file for file in model.versions.values() if file.directory is None), None)
    if bare is not None:
        _check_format(bare, model.settings)
    if model.problems and (bare is not None or not model.versions):
        raise ModelLoadError("; ".join(model.problems.values()))
    if not model.versions and not is_watched:
        raise ConfigError("; ".join(model.notes))


def _check_format(file: ModelFile, settings: ModelSettings) -> None:
    for name, format_ in _FOR_ONE_FORMAT.items():
        if getattr(settings, name) and file.format is not format_:
            text = (
                f"model {settings.name!r}: {name} has no effect: it is for models stored as {format_.value}, and "
                f"{file.path} is stored as {file.format.value}; remove it"
            )
            raise ConfigError(text)


def _taken_twice(one: Found, other: Found) -> str:
    return (
        f"model name {one.settings.name!r} is taken twice: by {one.settings.path} and by {other.settings.path}; "
        f"give one of them another name: NAME={other.settings.path}"
    )
