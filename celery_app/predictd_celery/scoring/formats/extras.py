"""Packages that only some formats need.

Owns the error that names the extra. Any thread.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from predictd_proto.errors import ConfigError


def needed(module: str, extra: str, what: str) -> Any:
    """Return a module of a package that is an extra.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        message = f"{what} needs {module.partition('.')[0]}: pip install 'predictd[{extra}]' ({error})"
        raise ConfigError(message) from error
