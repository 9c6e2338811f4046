"""`predictd serve`: the command line of the daemon.

Owns the flags (one per setting), logging and the exit code. Main thread.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from predictd_proto.errors import ConfigError, PredictdError
from predictd_server.allocator import limit_arenas
from predictd_server.setting import Setting
from predictd_server.settings import SETTINGS, Settings
from predictd_server.settings_sources import CONFIG_VARIABLE, load_settings
from predictd_server.stop_signals import StopSignals

#: A setting or an argument is wrong. (EX_CONFIG of sysexits.h.)
CONFIG_EXIT_CODE = 78

_EPILOG = """\b
Settings come from flags, else PREDICTD_<NAME> in the environment, else the TOML file, else their defaults.
Exit codes: 0 stopped by a signal, 65 no model could be loaded, 70 stuck or dead inside, 78 wrong settings,
2 an unknown flag; a second signal ends it at once (130, 143).
"""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for setting in reversed(SETTINGS):
        command = click.option(
            setting.flag,
            setting.name,
            type=str,
            default=None,
            metavar=_metavar(setting),
            help=_help(setting),
        )(command)
    return command


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "|".join(setting.choices)
    return {bool: "true|false", int: "N", float: "NUMBER", str: "TEXT"}[setting.kind]


def _help(setting: Setting) -> str:
    default = str(setting.default).lower() if setting.kind is bool else str(setting.default)
    return f"{setting.help}." if default == "" else f"{setting.help}.  [{default}]"


@click.command(epilog=_EPILOG)
@click.argument("models", nargs=-1, metavar="[NAME=]PATH...")
@click.option("--config", metavar="FILE", default=None, help="TOML file with settings and a [models] table.")
@_options
def serve(models: tuple[str, ...], config: str | None, **flags: str | None) -> None:
    """Load models and answer predict, in the foreground.

    PATH is a .keras, .h5 or frozen .pb file, a SavedModel's directory, a directory with a directory 1, 2, ... for each
    version of a model, or a directory of any of these; NAME is the file's stem or the directory's name unless given.
    """
    stop = StopSignals()
    stop.catch()
    limit_arenas()
    try:
        given = {name: _parsed(name, text) for name, text in flags.items() if text is not None}
        settings = load_settings(flags=given, models=models, environ=os.environ, config=config)
        let_modules_be_found(settings, config or os.environ.get(CONFIG_VARIABLE))
        sys.exit(_serve(settings, stop))
    except PredictdError as error:
        click.echo(f"predictd: {error.message}", err=True)
        sys.exit(CONFIG_EXIT_CODE)


def let_modules_be_found(settings: Settings, config: str | None) -> None:
    """Let the modules that models name be imported from the configuration file's folder too, after all other places."""
    if config and any(model.modules for model in settings.models):
        sys.path.append(str(Path(config).absolute().parent))


def _parsed(name: str, text: str) -> Any:
    setting = next(setting for setting in SETTINGS if setting.name == name)
    return setting.parse(text, f"flag {setting.flag}")


def _serve(settings: Settings, stop: StopSignals) -> int:
    # Imported here: `predictd serve --help` and a mistyped flag need neither zmq nor the models' files.
    from predictd_server.daemon import Daemon
    from predictd_server.models.repository import Repository

    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s predictd: %(message)s", stream=_log_stream()
    )
    if not settings.models:
        text = "no model given; expected predictd serve [NAME=]PATH..., PREDICTD_MODELS or a [models] table"
        raise ConfigError(text)
    repository = Repository(settings.models)
    repository.check(is_watched=settings.watch_s > 0)
    daemon = Daemon(settings, repository, stop)
    code = daemon.run()
    if daemon.is_at_work:
        logging.shutdown()
        os._exit(code)
    return code


def _log_stream() -> TextIO:
    """Return standard error by a descriptor of its own: the usual one is held back while TensorFlow is imported."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return sys.stderr
