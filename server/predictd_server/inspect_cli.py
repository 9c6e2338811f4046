"""`predictd inspect`: what a model's file holds and how it would be served, without a daemon.

Owns the arguments, what is printed and the exit code. Main thread.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from predictd_proto.errors import ConfigError, ModelLoadError, PredictdError
from predictd_proto.metadata import ModelMetadata
from predictd_proto.metadata_text import fact_lines, title_of
from predictd_proto.plain import to_plain
from predictd_server.cli import CONFIG_EXIT_CODE, let_modules_be_found
from predictd_server.models.settings import ModelSettings
from predictd_server.settings import Settings
from predictd_server.settings_sources import CONFIG_VARIABLE, load_settings

#: A file can't be served. (EX_DATAERR of sysexits.h.)
BROKEN_EXIT_CODE = 65

_EPILOG = """\b
Exit codes: 0 all of it can be served, 65 some of it can't (the text says why), 78 wrong paths or settings.
"""


@click.command(epilog=_EPILOG)
@click.argument("models", nargs=-1, metavar="[NAME=]PATH...")
@click.option("--config", metavar="FILE", default=None, help="TOML file with settings and a [models] table.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, as `predictd models --json` does.")
def inspect(models: tuple[str, ...], config: str | None, as_json: bool) -> None:
    """Tell what a model's file holds and how it would be served, without serving it.

    PATH is what `predictd serve` takes, or the directory of one version; NAME alone is a model of the configuration's.
    Each is loaded in this process as the daemon loads it, with what the configuration sets for it, warmed up, and
    compared with its golden samples.
    """
    logging.basicConfig(level="ERROR", format="predictd: %(message)s", stream=sys.stderr)
    try:
        configured = load_settings(flags={}, models=(), environ=os.environ, config=config)
        settings = _settings(configured, models, config)
        let_modules_be_found(configured, config or os.environ.get(CONFIG_VARIABLE))
        shown = _inspect(settings, configured, as_json=as_json)
    except ModelLoadError as error:
        _fail(error, BROKEN_EXIT_CODE)
    except PredictdError as error:
        _fail(error, CONFIG_EXIT_CODE)
    sys.exit(0 if all(metadata.is_ready for metadata in shown) else BROKEN_EXIT_CODE)


def _settings(configured: Settings, models: tuple[str, ...], config: str | None) -> Settings:
    by_name = _by_name(configured)
    named = tuple(by_name[text] for text in models if text in by_name and not Path(text).exists())
    paths = tuple(text for text in models if text not in by_name or Path(text).exists())
    chosen = load_settings(flags={}, models=paths, environ=os.environ, config=config).models if paths else ()
    settings = replace(configured, models=(*named, *chosen)) if models else configured
    if not settings.models:
        text = "nothing to inspect; expected predictd inspect [NAME=]PATH..., or a configuration with a [models] table"
        raise ConfigError(text)
    return settings


def _by_name(configured: Settings) -> dict[str, ModelSettings]:
    """Return the entries of the configuration by name, and what there is in its directories of models."""
    from predictd_server.models.repository import Repository

    found = {name: model.settings for name, model in Repository(configured.models).look().items()}
    return found | {entry.name: entry for entry in configured.models if entry.name}


def _inspect(settings: Settings, configured: Settings, *, as_json: bool) -> list[ModelMetadata]:
    # Imported here: --help and a mistyped path need no numbers.
    from predictd_server.models.inspection import inspected

    shown: list[ModelMetadata] = []
    for metadata in inspected(settings, configured.models):
        if not as_json:
            blank = "\n" * bool(shown)
            lines = fact_lines(metadata, shutil.get_terminal_size().columns)
            click.echo("\n".join([blank + click.style(title_of(metadata), bold=True), *lines]))
        shown.append(metadata)
    if as_json:
        click.echo(json.dumps([to_plain(metadata) for metadata in shown], indent=2))
    return shown


def _fail(error: PredictdError, code: int) -> NoReturn:
    click.echo(f"predictd: {error.message}", err=True)
    sys.exit(code)
