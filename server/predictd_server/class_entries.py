"""Class entries: from the configuration file's `[classes]` table to the classes of callers.

Owns the table of a class's fields and the checks of their values. Main thread, once.
"""

from __future__ import annotations

from typing import Any

from predictd_proto.errors import ConfigError
from predictd_server.serving.caller_class import CallerClass
from predictd_server.setting import Setting, unknown_name

_MOST_ROWS = 1 << 24

#: What a request may carry as `caller_class` (`proto/WIRE.md`).
_MOST_NAME = 256

CLASS_FIELDS: tuple[Setting, ...] = (
    Setting(
        "weight", float, 1.0, "Its share of each model's time against other classes while all want it", 0.001, 1000
    ),
    Setting("priority", int, 0, "Its requests go before those with a lower one (a model adds its own)", -100, 100),
    Setting(
        "max_queue_rows", int, None, "Rows of it that may wait for one model (default: the model's)", 1, _MOST_ROWS
    ),
    Setting("batch_timeout_ms", float, None, "Batch window in ms (default: the model's)", 0, 60_000),
)
_FIELDS_BY_NAME = {field.name: field for field in CLASS_FIELDS}


def classes_of(table: object, origin: str) -> tuple[CallerClass, ...]:
    """Return the classes of a `[classes]` table.

    Args:
        table: What the file holds under `classes`.
        origin: The file, for errors.

    Raises:
        ConfigError: A name, a field or a value is wrong.
    """
    if not isinstance(table, dict):
        text = f"{origin}: classes: expected a table [classes.NAME] for each class of callers, got {table!r}"
        raise ConfigError(text)
    return tuple(_class_of(name, fields, f"{origin}: classes.{name}") for name, fields in table.items())


def _class_of(name: str, fields: object, origin: str) -> CallerClass:
    if not isinstance(fields, dict):
        names = ", ".join(_FIELDS_BY_NAME)
        text = f"{origin}: expected a table [classes.NAME] with {names}, got {fields!r}"
        raise ConfigError(text)
    if not 0 < len(name) <= _MOST_NAME:
        text = f"{origin[:100]}: the name of a class is {len(name)} characters long, expected 1 to {_MOST_NAME}"
        raise ConfigError(text)
    values: dict[str, Any] = {}
    for key, value in fields.items():
        field = _FIELDS_BY_NAME.get(key)
        if field is None:
            raise _unknown_field(key, value, origin)
        values[key] = field.check(value, origin)
    return CallerClass(name=name, **values)


def _unknown_field(key: str, value: object, origin: str) -> ConfigError:
    unknown = unknown_name(key, origin, _FIELDS_BY_NAME)
    if not isinstance(value, dict):
        return unknown
    return ConfigError(f'{unknown.message} (a name that holds a dot goes into quotes: [classes."NAME.{key}"])')
