"""Where settings come from: flag > environment > file > default, each value with its origin.

Owns reading the one TOML file and the environment, and the refusal of names that nobody knows. Main thread, once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictd_proto.errors import ConfigError
from predictd_server.class_entries import classes_of
from predictd_server.models.entries import entries_of, entry_of
from predictd_server.setting import unknown_name
from predictd_server.settings import BY_NAME, SETTINGS, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG_VARIABLE = "PREDICTD_CONFIG"
MODELS_VARIABLE = "PREDICTD_MODELS"

#: Variables of the same prefix that belong to other parts: Celery workers, and supervisord.conf.
OTHERS = (
    "PREDICTD_BROKER_URL",
    "PREDICTD_CELERY_CONCURRENCY",
    "PREDICTD_CLAIM_CHECK_BYTES",
    "PREDICTD_CLAIM_EXPIRES_S",
    "PREDICTD_CLAIM_STORE",
    "PREDICTD_HEALTH_INTERVAL_S",
    "PREDICTD_QUEUES",
    "PREDICTD_RESULT_URL",
    "PREDICTD_TASK_MAX_RETRIES",
    "PREDICTD_TASK_MAX_RETRY_DELAY_S",
    "PREDICTD_TENSORFLOW_GUARD",
    "PREDICTD_TIMEOUT_MS",
    "PREDICTD_VISIBILITY_TIMEOUT_S",
)


def load_settings(
    *,
    flags: Mapping[str, Any],
    models: tuple[str, ...],
    environ: Mapping[str, str],
    config: str | None = None,
) -> Settings:
    """Return the effective settings, checked.

    Args:
        flags: Values given on the command line, by setting name; absent where not given.
        models: `[NAME=]PATH` texts from the command line.
        environ: The environment.
        config: The TOML file's path; None for `PREDICTD_CONFIG`, else no file.

    Raises:
        ConfigError: A name is unknown, a value is wrong or inert; the text names it and its origin.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = config or environ.get(CONFIG_VARIABLE)
    if path:
        _take_file(Path(path), values, origins)
    _take_environment(environ, values, origins)
    for name, value in flags.items():
        origin = f"flag {BY_NAME[name].flag}"
        values[name], origins[name] = BY_NAME[name].check(value, origin), origin
    if models:
        values["models"], origins["models"] = tuple(map(entry_of, models)), "command line"
    return Settings(**values, origins=origins)


def _take_file(path: Path, values: dict[str, Any], origins: dict[str, str]) -> None:
    origin = f"file {path}"
    for name, value in _read_toml(path).items():
        if name == "models":
            values["models"] = entries_of(value, path.parent, origin)
        elif name == "classes":
            values["classes"] = classes_of(value, origin)
        elif name in BY_NAME:
            values[name] = BY_NAME[name].check(value, origin)
        else:
            raise unknown_name(name, origin, [*BY_NAME, "models", "classes"])
        origins[name] = origin


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        text = f"configuration file {path}: can't be read: {error.strerror}"
        raise ConfigError(text) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        text = f"configuration file {path}: not valid TOML: {error}"
        raise ConfigError(text) from error


def _take_environment(environ: Mapping[str, str], values: dict[str, Any], origins: dict[str, str]) -> None:
    known = {setting.variable: setting for setting in SETTINGS}
    for variable in sorted(environ):
        if not variable.startswith("PREDICTD_") or variable == CONFIG_VARIABLE or not environ[variable]:
            continue
        origin = f"environment {variable}"
        if variable in known:
            setting = known[variable]
            values[setting.name] = setting.parse(environ[variable], origin)
            origins[setting.name] = origin
        elif variable == MODELS_VARIABLE:
            values["models"] = tuple(map(entry_of, environ[variable].split(":")))
            origins["models"] = origin
        elif variable not in OTHERS:
            raise unknown_name(variable, "environment", [*known, CONFIG_VARIABLE, MODELS_VARIABLE, *OTHERS])
