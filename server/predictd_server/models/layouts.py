"""Layouts: what the path of one entry holds, be it a bare file, numbered versions, or a directory of both.

`NAME/VERSION/` is TensorFlow Serving's layout: directories called 1, 2, ... with a SavedModel each; here one .keras,
.h5 or .pb file does as well. Owns the reading of names, sizes and first bytes; it loads nothing and keeps nothing. Main
thread at the start, the models thread from then on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from predictd_proto.errors import ConfigError, ModelLoadError, PredictdError
from predictd_server.models.contents import fingerprint_of, is_temporary
from predictd_server.models.files import EXPECTED, ModelFormat, check_file, default_name, look_at, unservable
from predictd_server.models.found import Found
from predictd_server.models.settings import ModelSettings
from predictd_server.models.version_names import VERSION_RULE, is_number_like, number_of

_log = logging.getLogger("predictd")


@dataclass(slots=True)
class There:
    """What one entry stands for.

    Attributes:
        entry: What was looked up.
        models: The models; with an entry that has a name never more than one.
        refused: What else is there and belongs to no model, and why.
        error: Why it stands for nothing at all.
        is_directory: It is a directory of models, of which there may be any number.
        is_empty: It is one in which there is no model, not even one that has an entry of its own.
    """

    entry: ModelSettings
    models: list[Found] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    error: PredictdError | None = None
    is_directory: bool = False
    is_empty: bool = False


def look_up(entry: ModelSettings, *, is_directory: bool = False) -> There:
    """Return what an entry stands for now. It never raises for what it finds.

    Args:
        entry: What to look up.
        is_directory: It is known to be a directory of models, whatever else is in it by now.
    """
    try:
        return _look_or_raise(entry, is_directory=is_directory and not entry.name)
    except Exception as error:
        reason = _reason(entry.path, error)
    there = There(entry, error=reason)
    if entry.name:
        there.models.append(Found(entry, notes=(reason.message,)))
    return there


def version_at(path: Path) -> int | None:
    """Return the version that a path is: a directory called by its number, with one model in it; None for any other."""
    number = number_of(path.name)
    if number is None or not path.is_dir():
        return None
    try:
        if look_at(path) is not None:
            return number
        models = _directory(ModelSettings(name="", path=path), _children(path)).models
    except Exception as error:
        _reason(path, error)
        return None
    # Several are a directory of models that has a number, a day perhaps.
    is_alone = len(models) == 1 and not models[0].settings.path.is_dir()
    return number if is_alone or not models else None


def _look_or_raise(entry: ModelSettings, *, is_directory: bool) -> There:
    path = entry.path
    try:
        path.stat()
    except FileNotFoundError:
        text = f"{path}: no such file or directory; {EXPECTED}"
        raise ConfigError(text) from None
    if is_directory and path.is_dir():
        return _still_directory(entry, _children(path))
    kind = look_at(path)
    if kind is not None:
        return There(entry, [_bare(replace(entry, name=entry.name or default_name(path)))])
    if not path.is_dir():
        raise unservable(path)
    children = _children(path)
    if _holds_versions(children):
        return There(entry, [_versioned(replace(entry, name=entry.name or default_name(path)), children)])
    there = _directory(entry, children)
    if not entry.name:
        return there
    if there.models:
        names = ", ".join(model.settings.name for model in there.models)
        text = (
            f"{entry.name}={path}: a name is for one model, and this directory holds {len(there.models)}: {names}; "
            f"give one of them: {entry.name}={there.models[0].settings.path}"
        )
        raise ConfigError(text)
    return There(entry, [_versioned(entry, children)])


def _children(directory: Path) -> list[Path]:
    return sorted(child for child in directory.iterdir() if not is_temporary(child.name))


def _holds_versions(children: list[Path]) -> bool:
    return any(is_number_like(child.name) and (child.is_symlink() or child.is_dir()) for child in children)


def _directory(entry: ModelSettings, children: list[Path]) -> There:
    there = There(entry, is_directory=True)
    for child in children:
        try:
            model = _child(entry, child)
        except Exception as error:
            there.refused.append(_reason(child, error).message)
        else:
            if model is not None:
                there.models.append(model)
    return there


def _still_directory(entry: ModelSettings, children: list[Path]) -> There:
    """Return what is in a directory of models, into which versions may have come by mistake."""
    there = _directory(entry, children)
    models = {model.settings.path for model in there.models}
    there.refused += [
        f"{child}: is called as a version, and {entry.path} is served as a directory of models; put it into the "
        "directory of its model, or start the server anew to serve this one as a model's"
        for child in children
        if is_number_like(child.name) and child.is_dir() and child not in models
    ]
    return there


def _child(entry: ModelSettings, path: Path) -> Found | None:
    if look_at(path) is not None:
        return _bare(replace(entry, name=default_name(path), path=path))
    if not path.is_dir():
        return None
    children = _children(path)
    if not _holds_versions(children):
        return None
    return _versioned(replace(entry, name=default_name(path), path=path), children)


def _bare(settings: ModelSettings) -> Found:
    found = Found(settings)
    _take(found, 1, settings.path, directory=None)
    return _with_missing(found, f"{settings.path} is a model alone, which is version 1")


def _versioned(settings: ModelSettings, children: list[Path]) -> Found:
    found = Found(settings)
    notes = []
    for child in children:
        number = number_of(child.name)
        if number is not None:
            _take(found, number, child, directory=child)
        elif child.is_dir() or child.is_symlink():
            notes.append(f"{child}: is no version; expected its name to be {VERSION_RULE}")
    if not found.versions and not found.problems:
        notes.append(f"{settings.path}: holds no version; expected directories called 1, 2, ...")
    return _with_missing(replace(found, notes=tuple(notes)), f"{settings.path} holds no such directory")


def _take(found: Found, number: int, path: Path, directory: Path | None) -> None:
    """Add a version, or the problem with it."""
    name = found.settings.name
    try:
        artefact, kind = _artefact(path) if directory is not None else (path, look_at(path))
        if kind is None:
            raise _gone(path)
        file = check_file(name, artefact, kind, version=number, directory=directory)
        found.versions[number] = file
    except Exception as error:
        found.problems[number] = _reason(path, error).message
    found.fingerprints[number] = fingerprint_of(path)


def _reason(path: Path, error: Exception) -> PredictdError:
    """Return why a path isn't served: one file that nothing foresaw must not end the look at all the others."""
    if isinstance(error, PredictdError):
        return error
    if isinstance(error, FileNotFoundError):
        return _gone(path)
    if isinstance(error, OSError):
        said = error.strerror or str(error)
        return ConfigError(f"{path}: can't be looked at: {said}; give the daemon's user access to it")
    _log.debug("unforeseen error at the look at %s", path, exc_info=error)
    text = (
        f"{path}: can't be looked at: {type(error).__name__}: {error}; save the model again or repeat the copy; if "
        "that doesn't help, log_level = debug shows where it comes from"
    )
    return ConfigError(text)


def _gone(path: Path) -> ConfigError:
    text = (
        f"{path}: expected a model, got nothing: it went while it was looked at, or is a link that leads nowhere; "
        "repeat the copy, or remove what is left of it"
    )
    return ConfigError(text)


def _artefact(directory: Path) -> tuple[Path, ModelFormat]:
    """Return the one model that a version's directory holds."""
    if not directory.is_dir():
        got = "a link that leads nowhere" if directory.is_symlink() and not directory.exists() else "a file"
        text = f"{directory}: expected a directory with one model in it because of its name, got {got}"
        raise ModelLoadError(text)
    kind = look_at(directory)
    if kind is not None:
        return directory, kind
    children = _children(directory)
    models = [(child, kind) for child in children if (kind := look_at(child)) is not None]
    files = [(child, kind) for child, kind in models if kind is not ModelFormat.SAVED_MODEL]
    if len(files) == 1:
        return files[0]
    if files:
        got = f"{len(files)}: {', '.join(path.name for path, _ in files)}; leave one of them"
    elif models:
        got = f"a directory {models[0][0].name}/ with a model in it; move what it holds up"
    else:
        got = f"{'files that are none' if children else 'an empty directory'}; {EXPECTED}"
    text = f"{directory}: expected one model in this version's directory, got {got}"
    raise ModelLoadError(text)


def _with_missing(found: Found, what_is: str) -> Found:
    """Add the versions that the settings name and that are not there."""
    settings = found.settings
    named = {number: "versions" for number in settings.versions} if isinstance(settings.versions, tuple) else {}
    if isinstance(settings.default_version, int):
        named[settings.default_version] = "default_version"
    named |= {number: f"label {label!r}" for label, number in settings.labels.items()}
    for number, why in named.items():
        if number not in found.fingerprints:
            found.problems[number] = f"{why} of model {settings.name!r} names version {number}, but {what_is}"
    return found
