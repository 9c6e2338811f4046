"""Entries: from what the command line, the environment and the configuration file say to the settings of models.

Owns the texts `[NAME=]PATH` and the `[models]` table. What is at a path is `repository.py`'s. Main thread, once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from predictd_proto.errors import ConfigError
from predictd_server.models.consistency import check_consistent
from predictd_server.models.fields import FIELDS_BY_NAME
from predictd_server.models.files import ENDINGS, EXPECTED, NAME_PATTERN, NAME_RULE
from predictd_server.models.settings import ModelSettings
from predictd_server.setting import unknown_name

#: The name in a `[models]` table that stands for every model of a directory.
EVERY = "*"


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
    check_name(before, repr(text))
    if not after:
        message = f"{text!r} names a model without a path; expected NAME=PATH"
        raise ConfigError(message)
    return ModelSettings(name=before, path=_absolute(after))


def entries_of(table: object, folder: Path, origin: str) -> tuple[ModelSettings, ...]:
    """Return the entries of a `[models]` table.

    Each is `NAME = "PATH"`, or a table `[models.NAME]` with the fields of a model. `"*"` is a directory of
    models and sets the fields of every one in it; a table without a path sets those of the one with its name.

    Args:
        table: What the file holds under `models`.
        folder: What paths are relative to: the file's own folder, since the daemon's is its supervisor's business.
        origin: The file, for errors.

    Raises:
        ConfigError: A name, a field or a value is wrong.
    """
    if not isinstance(table, dict):
        text = f'{origin}: models: expected a table of NAME = "PATH", got {table!r}'
        raise ConfigError(text)
    every = _entry("", table[EVERY], None, folder, f"{origin}: models.{EVERY}") if EVERY in table else None
    entries = [] if every is None else [every]
    for name, item in table.items():
        if name != EVERY:
            check_name(name, f"{origin}: models")
            entries.append(_entry(name, item, every, folder, f"{origin}: models.{name}"))
    return tuple(entries)


def _entry(name: str, item: object, every: ModelSettings | None, folder: Path, origin: str) -> ModelSettings:
    fields = {"path": item} if isinstance(item, str) else item
    if not isinstance(fields, dict):
        text = f'{origin}: expected "PATH", or a table with path = "PATH" and more, got {item!r}'
        raise ConfigError(text)
    values: dict[str, Any] = {}
    for key, value in fields.items():
        field = FIELDS_BY_NAME.get(key)
        if field is None:
            raise _unknown_field(key, value, origin)
        values[key] = field.check(value, origin)
    if "path" in values:
        values["path"] = _absolute(values["path"], folder)
        settings = ModelSettings(name=name, **values)
    elif every is not None:
        if "max_batch_size" in values:
            every = replace(every, batch_sizes=())
        # Settings of its own for one of the models in the directory, on top of those for all of them.
        settings = replace(every, name=name, path=_within(every.path, name), **values)
    else:
        text = f'{origin}: has no path; expected path = "PATH", its file or directory'
        raise ConfigError(text)
    check_consistent(settings, values, origin)
    return settings


def _unknown_field(key: str, value: object, origin: str) -> ConfigError:
    unknown = unknown_name(key, origin, FIELDS_BY_NAME)
    if not isinstance(value, dict):
        return unknown
    return ConfigError(f'{unknown.message} (a name that holds a dot goes into quotes: [models."NAME.{key}"])')


def _within(directory: Path, name: str) -> Path:
    """Return where a model of that name is in a directory of models: a directory, or a file with an ending."""
    return next(
        (path for path in (directory / f"{name}{ending}" for ending in ENDINGS) if path.exists()), directory / name
    )


def check_name(name: str, where: str) -> None:
    """Refuse what can't be a model's name.

    Raises:
        ConfigError: It holds other characters, none, or too many.
    """
    if not NAME_PATTERN.fullmatch(name):
        text = f"model name {name!r} in {where}: expected {NAME_RULE}"
        raise ConfigError(text)


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _absolute(text: str, folder: Path | None = None) -> Path:
    if "\0" in text:
        message = f"{text!r}: a path can't hold a null character"
        raise ConfigError(message)
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        message = f"{text}: {error}; give the whole path"
        raise ConfigError(message) from error
    return (path if folder is None else folder / path).absolute()
