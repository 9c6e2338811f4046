"""Repositories as the tests ask for them: by what a command line says, or by one model's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from predictd_server.models.entries import entry_of
from predictd_server.models.found import Found
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings


def repository(*arguments: object) -> Repository:
    """Return the repository of `[NAME=]PATH` arguments."""
    return Repository([entry_of(str(argument)) for argument in arguments])


def the_one(path: Path, **settings: Any) -> Found:
    """Return what there is of the model at a path, called "m"."""
    return Repository([ModelSettings(name="m", path=path, **settings)]).look()["m"]
