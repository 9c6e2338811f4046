"""The repository: which models and versions there are on disk, by the entries of the configuration.

Owns the sum over all entries, and which of it no daemon should start with. It keeps nothing but what the last look
refused, and never raises for what it finds. Main thread at the start, the loader thread from then on.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictd_proto.errors import ConfigError, ModelLoadError
from predictd_server.models.files import EXPECTED
from predictd_server.models.found import Found
from predictd_server.models.layouts import look_up
from predictd_server.models.settings import ModelSettings

__all__ = ["Found", "Repository"]


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
        for entry in self._entries:
            there = look_up(entry)
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
            ConfigError: A path leads to nothing that can be served, or two models have one name.
            ModelLoadError: All there is of a model is broken.
        """
        names: dict[str, Found] = {}
        for entry in self._entries:
            there = look_up(entry)
            if there.error is not None:
                raise there.error
            if not there.models and not is_watched:
                text = f"{entry.path}: no model in this directory; {EXPECTED}"
                raise ConfigError(text)
            for model in there.models:
                if not there.is_directory:
                    _check_alone(model, is_watched=is_watched)
                other = names.setdefault(model.settings.name, model)
                if other is not model:
                    raise ConfigError(_taken_twice(other, model))


def _check_alone(model: Found, *, is_watched: bool) -> None:
    if model.versions:
        return
    if model.problems:
        raise ModelLoadError("; ".join(model.problems.values()))
    if not is_watched:
        raise ConfigError("; ".join(model.notes))


def _taken_twice(one: Found, other: Found) -> str:
    return (
        f"model name {one.settings.name!r} is taken twice: by {one.settings.path} and by {other.settings.path}; "
        f"give one of them another name: NAME={other.settings.path}"
    )
