"""What may stand in the way of a run's outputs: each other, the inputs themselves, files of somebody else.

Owns these checks, all made before anything is written. The thread that runs the scoring.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from predictd_celery.scoring.inputs import InputSource
from predictd_proto.errors import ConfigError


def check_targets(folder: Path, inputs: Sequence[InputSource], ours: Collection[str], *, ignores_case: bool) -> None:
    """Check that each output has a name and a place of its own.

    Args:
        folder: Where they go.
        inputs: What is scored.
        ours: The outputs that are there from this folder's run; these may be written again.
        ignores_case: Whether the folder's file system takes A and a for one name.

    Raises:
        ConfigError: One has not; the text says which.
    """
    outputs: dict[str, InputSource] = {}
    names: dict[str, InputSource] = {}
    given = {_identity(Path(one.source.path)): one for one in inputs}
    for one in inputs:
        other = outputs.setdefault(one.output.casefold() if ignores_case else one.output, one)
        if other is not one:
            message = (
                f"{one.source.path} and {other.source.path}: their outputs would have one name, {one.output}; score "
                "them into folders of their own"
            )
            raise ConfigError(message)
        other = names.setdefault(one.name, one)
        if other is not one:
            message = (
                f"{one.source.path} and {other.source.path}: the manifest would have one entry, {one.name}, for both; "
                "score them into folders of their own"
            )
            raise ConfigError(message)
        target = folder / one.output
        if not os.path.lexists(target):
            continue
        overwritten = given.get(_identity(target)) if target.exists() else None
        if overwritten is not None:
            message = (
                f"--output {folder}: {overwritten.source.path} would be overwritten by the output of {one.name}; take "
                "a folder without inputs"
            )
            raise ConfigError(message)
        if one.output not in ours:
            message = (
                f"{target} is there already, and not an output of this folder's run (its manifest.json does not have "
                "it): take another folder, or move it away"
            )
            raise ConfigError(message)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
