"""The repository: which models and versions there are on disk, by the entries of the configuration.

Owns the sum over all entries, who of several has a name, and which of it no daemon should start with. It keeps nothing
but what the last look refused and which paths the names stand for, and never raises for what it finds. Main thread at
the start, the models thread from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
        self._held: dict[str, Path] = {}
        self.refused: tuple[str, ...] = ()

    def look(self) -> dict[str, Found]:
        """Return what there is now, by name.

        Of several models with one name one is there, and its notes tell of the others: that of an entry with a name,
        else that of an entry which is a model alone, else, of those in directories of models, the one that has the name
        already, else the first by path. So nothing that comes into a directory takes the place of what is served, nor
        the settings by which that is trusted.
        """
        refused: list[str] = []
        claims: dict[str, list[tuple[There, Found]]] = {}
        for there in self._survey():
            refused += [*there.refused, *([] if there.error is None else [there.error.message])]
            for model in there.models:
                claims.setdefault(model.settings.name, []).append((there, model))
        found: dict[str, Found] = {}
        for name, claimed in claims.items():
            (_, first), *others = sorted(claimed, key=lambda claim: self._rank(*claim))
            texts = [_taken_twice(first, model, is_in_directory=there.is_directory) for there, model in others]
            found[name] = replace(first, notes=(*first.notes, *texts)) if texts else first
            refused += texts
        self.refused = tuple(refused)
        return found

    def hold(self, models: Mapping[str, Found]) -> None:
        """Note what the names stand for from now on: what is taken for good of a look, which may be less than all."""
        self._held = {name: model.settings.path for name, model in models.items()}

    def _rank(self, there: There, model: Found) -> tuple[bool, bool, bool, Path]:
        """Return what is smaller for a model with a better right to its name."""
        settings = model.settings
        has_name_already = self._held.get(settings.name) == settings.path
        return not there.entry.name, there.is_directory, not has_name_already, settings.path

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
            if there.is_empty and not is_watched:
                text = "; ".join([f"{there.entry.path}: no model in this directory; {EXPECTED}", *there.refused])
                raise ConfigError(text)
            for model in there.models:
                if not there.is_directory:
                    _check_alone(model, is_watched=is_watched)
                other = names.setdefault(model.settings.name, model)
                if other is not model:
                    raise ConfigError(_taken_twice(other, model, is_in_directory=there.is_directory))

    def _survey(self) -> list[There]:
        """Look up every entry; a model with an entry of its own is not taken from its directory once more."""
        # What has models in it stays a directory of models: a "3/" that comes into it makes it no model's directory.
        directories = {path.parent for path in self._held.values()}
        survey = [look_up(entry, is_directory=entry.path in directories) for entry in self._entries]
        own = {_key(model) for there in survey if not there.is_directory for model in there.models}
        for there in survey:
            if there.is_directory:
                others = [model for model in there.models if _key(model) not in own]
                there.is_empty, there.models = not there.models, others
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


def _taken_twice(one: Found, other: Found, *, is_in_directory: bool) -> str:
    path = other.settings.path
    advice = f"rename {path}" if is_in_directory else f"give one of them another name: NAME={path}"
    return f"model name {one.settings.name!r} is taken twice: by {one.settings.path} and by {path}; {advice}"
