"""Entries: from what the command line, the environment and the configuration file say to the settings of models.

Owns the texts `[NAME=]PATH` and the `[models]` table. What is at a path is `repository.py`'s. Main thread, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from predictd_proto.errors import ConfigError
from predictd_server.models.files import EXPECTED, NAME_PATTERN, NAME_RULE
from predictd_server.models.settings import ModelSettings


def entry_of(text: str) -> ModelSettings:
    """Return the entry that a `[NAME=]PATH` text means.

    Raises:
        ConfigError: There is no path in it, or the name can't be a model's.
    """
    if not text.strip():
        message = f"a model's path is empty; {EXPECTED}"
        raise ConfigError(message)
    before, equals, after = text.partition("=")
    # A path may hold "=" too: `runs/lr=0.1/model.keras`, or `lr=0.1.keras` where there is such a file.
    if not equals or "/" in before or _is_there(text):
        return ModelSettings(name="", path=_absolute(text))
    check_name(before, text)
    if not after:
        message = f"{text!r} names a model without a path; expected NAME=PATH"
        raise ConfigError(message)
    return ModelSettings(name=before, path=_absolute(after))


def entries_of(table: object, folder: Path, origin: str) -> tuple[ModelSettings, ...]:
    """Return the entries of a `[models]` table.

    Args:
        table: What the file holds under `models`.
        folder: What paths are relative to: the file's own folder, since the daemon's is its supervisor's business.
        origin: The file, for errors.

    Raises:
        ConfigError: A name, a field or a value is wrong.
    """
    if not isinstance(table, Mapping) or not all(isinstance(item, str) for item in table.values()):
        text = f'{origin}: models: expected a table of NAME = "PATH", got {table!r}'
        raise ConfigError(text)
    return tuple(ModelSettings(name=name, path=_absolute(str(folder / item))) for name, item in table.items())


def check_name(name: str, where: str) -> None:
    """Refuse what can't be a model's name.

    Raises:
        ConfigError: It holds other characters, none, or too many.
    """
    if not NAME_PATTERN.fullmatch(name):
        text = f"model name {name!r} in {where!r}: expected {NAME_RULE}"
        raise ConfigError(text)


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _absolute(text: str) -> Path:
    if "\0" in text:
        message = f"{text!r}: a path can't hold a null character"
        raise ConfigError(message)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        message = f"{text}: {error}; give the whole path"
        raise ConfigError(message) from error
