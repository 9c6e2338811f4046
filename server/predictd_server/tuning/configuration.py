"""The configuration file: what was found is written into it, and everything else stays as it is.

Owns the one edit and the check of its result before the file is replaced, all at once. Main thread.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from predictd_proto.errors import ConfigError
from predictd_server.models.entries import EVERY
from predictd_server.settings_sources import load_settings
from predictd_server.tuning.variant import Variant, shown

#: What a setting takes the place of.
_INSTEAD = {"batch_sizes": "max_batch_size"}


def snippet(name: str, found: Variant, comments: Mapping[str, str]) -> str:
    """Return what was found as lines of a configuration.

    Args:
        name: The model's name.
        found: The settings.
        comments: By setting, what to say of it.
    """
    lines = [_line(key, value, comments) for key, value in found.server.items()]
    if found.model:
        lines += [*([""] if lines else []), f"[models.{_key(name)}]"]
        lines += [_line(key, value, comments) for key, value in found.model.items()]
    return "\n".join(lines)


def _line(key: str, value: object, comments: Mapping[str, str]) -> str:
    return f"{key} = {shown(value)}" + (f"  # {comments[key]}" if key in comments else "")


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else f'"{name}"'


class ConfigurationFile:
    """A configuration file that can be written to.

    Args:
        path: The file. What it is a link to is replaced, not the link.

    Raises:
        ConfigError: It can't be read, or can't be replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._target = Path(os.path.realpath(path))
        if find_spec("tomlkit") is None:
            text = (
                f"configuration file {path}: it can't be written without the package tomlkit; install it with: "
                "pip install 'predictd[server]', or use --dry-run"
            )
            raise ConfigError(text)
        self._before = self._read()
        # Minutes of measuring are not to end in this.
        if not os.access(self._target, os.W_OK) or not os.access(self._target.parent, os.W_OK):
            text = (
                f"configuration file {path}: it or its folder can't be written to; make them writable, or use --dry-run"
            )
            raise ConfigError(text)

    def write(self, name: str, found: Variant, comments: Mapping[str, str]) -> None:
        """Set what was found, each with its comment.

        Args:
            name: The model's name.
            found: The settings.
            comments: By setting, what to say of it.

        Raises:
            ConfigError: The file has changed meanwhile, the result would not be valid, or it can't be written.
        """
        if self._read() != self._before:
            text = (
                f"configuration file {self._path}: it has changed while the model was measured, and is left as it is; "
                f"add this to it:\n\n{snippet(name, found, comments)}"
            )
            raise ConfigError(text)
        text = edited(self._before, name, found, comments)
        file, place = tempfile.mkstemp(prefix=".", suffix=".toml", dir=self._target.parent, text=True)
        try:
            with os.fdopen(file, "w", encoding="utf-8", newline="") as beside:
                beside.write(text)
                beside.flush()
                os.fsync(beside.fileno())
            # Beside it, so that relative paths lead to where they led.
            load_settings(flags={}, models=(), environ={}, config=place)
            os.chmod(place, stat.S_IMODE(self._target.stat().st_mode))
            os.replace(place, self._target)
        except ConfigError as error:
            message = f"{error.message.replace(place, str(self._path))}; what was found is not written"
            raise ConfigError(message) from error
        except OSError as error:
            message = f"configuration file {self._path}: can't be written: {error.strerror}"
            raise ConfigError(message) from error
        finally:
            Path(place).unlink(missing_ok=True)

    def _read(self) -> str:
        try:
            with self._target.open(encoding="utf-8", newline="") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            text = f"configuration file {self._path}: can't be read: {error}"
            raise ConfigError(text) from error


def edited(text: str, name: str, found: Variant, comments: Mapping[str, str]) -> str:
    """Return the text of a configuration with settings in it; all else, comments too, is as before.

    Args:
        text: The configuration.
        name: The model's name; it is in the configuration, or in its directory of models.
        found: The settings.
        comments: By setting, what to say of it.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    document: Any = tomlkit.parse(text)
    _fill(document, found.server, comments)
    if found.model:
        models = document["models"]
        present = models.get(name)
        if isinstance(present, str):
            # In its place, and with the comment of its line.
            models[name] = tomlkit.inline_table().append("path", str(present))
        elif present is None:
            assert EVERY in models, name
            models[name] = tomlkit.table()
        for key in found.model:
            models[name].pop(_INSTEAD.get(key, ""), None)
        _fill(models[name], found.model, comments)
        if isinstance(models[name], InlineTable):
            said = dict.fromkeys(comments[key] for key in found.model if key in comments)
            _add_comment(models[name], "; ".join(said))
    return tomlkit.dumps(document)


def _fill(table: Any, values: Mapping[str, object], comments: Mapping[str, str]) -> None:
    from tomlkit.items import InlineTable, Table

    for key, value in values.items():
        table[key] = list(value) if isinstance(value, tuple) else value
        # What is within one line has no comment of its own.
        if not isinstance(table, InlineTable) and key in comments:
            container = table.value if isinstance(table, Table) else table
            _comment(container.item(key), comments[key])


def _add_comment(item: Any, comment: str) -> None:
    before = item.trivia.comment.lstrip("# ").split("predictd tune:")[0].rstrip("; ")
    _comment(item, "; ".join(text for text in (before, comment) if text))


def _comment(item: Any, text: str) -> None:
    item.comment(text)
    item.trivia.comment_ws = item.trivia.comment_ws if len(item.trivia.comment_ws) > 1 else "  "
