"""The configuration file: what was found is written into it, and everything else stays as it is.

Owns the one edit and the check of its result before the file is replaced, all at once. Main thread.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from predictd_proto.errors import ConfigError
from predictd_server.settings_sources import load_settings
from predictd_server.tuning.variant import Variant, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
        name: The model's name.
        possible: Settings that may be written. Minutes of measuring are not to end in a file that can't take them.

    Raises:
        ConfigError: It can't be read, can't be replaced, or can't be edited without another change.
    """

    def __init__(self, path: Path, name: str, possible: Variant) -> None:
        self._path = path
        self._target = Path(os.path.realpath(path))
        if find_spec("tomlkit") is None:
            text = (
                f"configuration file {path}: it can't be written without the package tomlkit; install it with: "
                "pip install 'predictd[server]', or use --dry-run"
            )
            raise ConfigError(text)
        self._before = self._read()
        if not os.access(self._target, os.W_OK) or not os.access(self._target.parent, os.W_OK):
            text = (
                f"configuration file {path}: it or its folder can't be written to; make them writable, or use --dry-run"
            )
            raise ConfigError(text)
        try:
            edited(self._before, name, possible, {})
        except ConfigError as error:
            text = f"configuration file {path}: {error.message}, or use --dry-run"
            raise ConfigError(text) from error

    def write(self, name: str, found: Variant, comments: Mapping[str, str]) -> None:
        """Set what was found, each with its comment.

        Args:
            name: The model's name.
            found: The settings.
            comments: By setting, what to say of it.

        Raises:
            ConfigError: The file has changed meanwhile, the result would not be valid, or it can't be written; the
                text has the lines that were to be written.
        """
        try:
            if self._read() != self._before:
                text = f"configuration file {self._path}: it has changed while the model was measured"
                raise ConfigError(text)
            self._replace(edited(self._before, name, found, comments))
        except (ConfigError, OSError) as error:
            said = (
                error.message
                if isinstance(error, ConfigError)
                else f"configuration file {self._path}: can't be written: {error.strerror}"
            )
            text = (
                f"{said}; it is left as it is, and what was found is not written:\n\n{snippet(name, found, comments)}"
            )
            raise ConfigError(text) from error

    def _replace(self, text: str) -> None:
        file, place = tempfile.mkstemp(prefix=".", suffix=".toml", dir=self._target.parent, text=True)
        try:
            with os.fdopen(file, "w", encoding="utf-8", newline="") as beside:
                beside.write(text)
                beside.flush()
                os.fsync(beside.fileno())
            # Beside it, so that relative paths lead to where they led.
            load_settings(flags={}, models=(), environ={}, config=place)
            old = self._target.stat()
            # Else a file that root tunes could no longer be read by the daemon's user.
            os.chown(place, old.st_uid, old.st_gid)
            os.chmod(place, stat.S_IMODE(old.st_mode))
            os.replace(place, self._target)
        except ConfigError as error:
            raise ConfigError(error.message.replace(place, str(self._path))) from error
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

    Raises:
        ConfigError: Its form is one that can't be edited without changing another setting.
    """
    try:
        after = _with_settings(text, name, found, comments)
        # A key that tomlkit puts before others may make them another table's: `models."*".path` and then a setting.
        is_as_intended = tomllib.loads(after) == _intended(tomllib.loads(text), name, found)
    except Exception as error:  # tomlkit raises anything where a table is written in parts
        raise _not_editable(name, found) from error
    if not is_as_intended:
        raise _not_editable(name, found)
    return after


def _not_editable(name: str, found: Variant) -> ConfigError:
    where = f"[models.{_key(name)}]" if found.model else "its first lines"
    text = (
        f"can't be edited for model {name!r} without changing something else; write the model's settings as a table "
        f"of its own, {where}, after all settings of the server"
    )
    return ConfigError(text)


def _intended(before: dict[str, Any], name: str, found: Variant) -> dict[str, Any]:
    after = {**before, **_listed(found.server)}
    if found.model:
        present = before["models"].get(name, {})
        fields = {"path": present} if isinstance(present, str) else present
        replaced = {_INSTEAD.get(key) for key in found.model}
        kept = {key: value for key, value in fields.items() if key not in replaced}
        after["models"] = {**before["models"], name: {**kept, **_listed(found.model)}}
    return after


def _listed(values: Mapping[str, object]) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _with_settings(text: str, name: str, found: Variant, comments: Mapping[str, str]) -> str:
    import tomlkit
    from tomlkit.items import InlineTable

    document: Any = tomlkit.parse(text)
    _fill(document, found.server, comments)
    if found.model:
        models = document["models"]
        is_one_line = isinstance(models, InlineTable)
        present = models.get(name)
        if isinstance(present, str):
            # In its place, and with the comment of its line.
            models[name] = tomlkit.inline_table().append("path", str(present))
        elif present is None:
            models[name] = tomlkit.inline_table() if is_one_line else tomlkit.table()
        for key in found.model:
            models[name].pop(_INSTEAD.get(key, ""), None)
        _fill(models[name], found.model, comments)
        if isinstance(models[name], InlineTable):
            said = dict.fromkeys(comments[key] for key in found.model if key in comments)
            _add_comment(models if is_one_line else models[name], "; ".join(said))
    return tomlkit.dumps(document)


def _fill(table: Any, values: Mapping[str, object], comments: Mapping[str, str]) -> None:
    from tomlkit.items import InlineTable, Table

    for key, value in _listed(values).items():
        table[key] = value
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
