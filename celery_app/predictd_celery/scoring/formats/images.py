"""Folders of images: each file one row, in the order of their paths.

Owns finding and reading them, through Pillow (the extra `images`). Any thread.

An image becomes what Keras' own `image_dataset_from_directory` makes of it: numbers from 0 to 255, in as many channels
as the model's input has, bilinearly resized where that has a size. A model that wants another scale has a layer for it.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd_celery.scoring.formats.extras import needed
from predictd_celery.scoring.formats.shaping import only_input
from predictd_celery.scoring.formats.spans import Limits, Scan, Source, Span, digest_of_file
from predictd_celery.scoring.rows import BadRow, Rows
from predictd_proto.errors import ConfigError
from predictd_proto.tensors import TensorSpec

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_AXES = (3, 4)


def scan(source: Source, limits: Limits) -> Scan:
    """Return a folder's digest, over names and contents, and its chunks.

    Raises:
        ConfigError: There is no image in it.
        OSError: A folder in it can't be read.
    """
    needed("PIL.Image", "images", source.name)
    names = sorted(_names(Path(source.path)))
    if not names:
        message = f"{source.name}: a folder without images; expected some of {', '.join(sorted(SUFFIXES))}"
        raise ConfigError(message)
    found, total = hashlib.sha256(), 0
    for name in names:
        digest, size = _digest(Path(source.path, name))
        found.update(f"{digest} {name}\n".encode("utf-8", "surrogateescape"))
        total += size
    step = max(1, limits.rows)
    groups = [tuple(names[first : first + step]) for first in range(0, len(names), step)]
    lead = next((name for name in names if _size(Path(source.path, name)) is not None), "")
    spans = (Span(place * step, len(group), members=group, lead=lead) for place, group in enumerate(groups))
    return Scan(found.hexdigest(), total, tuple(spans))


def read(source: Source, span: Span, specs: Sequence[TensorSpec]) -> Rows:
    """Return the images of one chunk; where the model leaves their size open, all have that of the folder's first.

    Raises:
        ConfigError: The model's input is no image.
    """
    spec = only_input(specs, source.name)
    if len(spec.shape) not in _AXES:
        message = (
            f"{source.name}: expected a model of images, [rows, height, width, channels], got {spec.name!r}: {spec}"
        )
        raise ConfigError(message)
    needed("PIL.Image", "images", source.name)
    wanted: tuple[int | None, ...] = spec.shape[1:]
    if None in wanted[:2]:
        lead = _size(Path(source.path, span.lead)) or wanted[:2]
        wanted = (wanted[0] or lead[0], wanted[1] or lead[1], *wanted[2:])
    good: list[NDArray[Any]] = []
    bad = []
    for row, name in enumerate(span.members):
        try:
            good.append(_image(Path(source.path, name), spec, wanted))
        except Exception as error:
            # Of a broken file Pillow's readers raise what they come to: struct's, zlib's, a SyntaxError of a PNG.
            bad.append(BadRow(row, f"{source.name}/{name}", f"no image that can be read: {error}"))
    arrays = {spec.name: np.stack(good)} if good else {}
    return Rows(span.rows, arrays, tuple(bad), (source.name, span.first_row))


def _names(folder: Path) -> list[str]:
    found = []
    for directory, _, names in os.walk(folder, onerror=_refuse):
        base = Path(directory).relative_to(folder)
        found += [(base / name).as_posix() for name in names if Path(name).suffix.lower() in SUFFIXES]
    return found


def _refuse(error: OSError) -> None:
    raise error


def _digest(path: Path) -> tuple[str, int]:
    """Return a file's digest and size; a broken link, or a file that may not be read, is a bad row of its own."""
    try:
        _check_file(path)
        return digest_of_file(path)
    except OSError as error:
        return f"({error.strerror})", 0


def _check_file(path: Path) -> None:
    # A pipe's reader would wait for ever.
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "a broken link, or no file")


def _size(path: Path) -> tuple[int, int] | None:
    """Return an image's height and width; None where it does not open."""
    pillow = needed("PIL.Image", "images", str(path))
    try:
        _check_file(path)
        with pillow.open(path) as opened:
            width, height = opened.size
    except Exception:
        # As in `read`: it is told there.
        return None
    return height, width


def _image(path: Path, spec: TensorSpec, wanted: tuple[int | None, ...]) -> NDArray[Any]:
    pillow = needed("PIL.Image", "images", str(path))
    _check_file(path)
    height, width, *channels = spec.shape[1:]
    with pillow.open(path) as opened:
        image = opened.convert(_MODES.get(channels[0] or 3, "RGB") if channels else "L")
    if height and width and image.size != (width, height):
        image = image.resize((width, height), pillow.Resampling.BILINEAR)
    array: NDArray[Any] = np.asarray(image)
    array = array[..., np.newaxis] if channels and array.ndim == len(("height", "width")) else array
    if any(want not in {None, got} for want, got in zip(wanted, array.shape, strict=True)):
        message = f"{list(array.shape)}, expected {list(wanted)}: an open size is that of the folder's first image"
        raise ValueError(message)
    return array
