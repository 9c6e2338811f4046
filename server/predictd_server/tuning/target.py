"""The target: the one model that is tuned, with what is set for it.

Owns what the argument MODEL means: a name in the configuration, or a path. Main thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from predictd_proto.errors import ConfigError
from predictd_server.models.entries import entry_of
from predictd_server.models.files import ModelFile
from predictd_server.models.found import Found
from predictd_server.models.policy import wanted
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """What is tuned.

    Attributes:
        model: The settings of the model.
        file: Its newest version that would be served.
        is_configured: Whether the configuration names it, or a directory that it is in.
        others: How many other models the configuration has.
    """

    model: ModelSettings
    file: ModelFile
    is_configured: bool
    others: int


def find_target(settings: Settings, model: str) -> Target:
    """Return what MODEL means.

    Args:
        settings: The server's, with the models of the configuration.
        model: A name of one of those, or `[NAME=]PATH`.

    Raises:
        ConfigError: There is no such model, more than one, or none of its versions can be served.
    """
    configured = Repository(settings.models).look()
    if model in configured and not os.path.exists(model):
        return _target(configured[model], configured, is_configured=True)
    if not os.path.exists(entry_of(model).path):
        known = ", ".join(configured) or "none"
        text = f"{model}: no such file or directory, and no model of the configuration (those are: {known})"
        raise ConfigError(text)
    repository = Repository((entry_of(model),))
    repository.check(is_watched=False)
    found = repository.look()
    if len(found) != 1:
        text = f"{model}: holds {len(found)} models ({', '.join(found)}); expected one: name one of them"
        raise ConfigError(text)
    [only] = found.values()
    place = os.path.realpath(only.settings.path)
    same = next((each for each in configured.values() if os.path.realpath(each.settings.path) == place), None)
    return _target(same or only, configured, is_configured=same is not None)


def _target(found: Found, configured: dict[str, Found], *, is_configured: bool) -> Target:
    versions = wanted(found)
    if not versions:
        problems = "; ".join([*found.problems.values(), *found.notes]) or "there is no version"
        text = f"{found.settings.path}: nothing of it can be served: {problems}"
        raise ConfigError(text)
    file = found.versions[max(versions)]
    name = found.settings.name or file.name
    return Target(replace(found.settings, name=name), file, is_configured, len(configured) - is_configured)
