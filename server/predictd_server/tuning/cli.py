"""`predictd tune`: measures which settings are the fastest for a model on this machine, and writes them down.

Owns the arguments, what is printed and the exit code. Main thread.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from predictd_proto.errors import ModelLoadError, PredictdError
from predictd_server.cli import CONFIG_EXIT_CODE
from predictd_server.inspect_cli import BROKEN_EXIT_CODE
from predictd_server.settings_sources import CONFIG_VARIABLE
from predictd_server.tuning.found import Budget, Goal
from predictd_server.tuning.request import TUNABLE, Request, run_tuning

#: It was told to stop. (What a shell says of a program that SIGINT ended.)
INTERRUPTED_EXIT_CODE = 130
_LATENCY_MS = 100.0

_EPILOG = """\b
Exit codes: 0 done, 65 the model can't be served, 78 wrong settings or a file that can't be written, 130 interrupted.
"""


@click.command(epilog=_EPILOG)
@click.argument("model", metavar="MODEL")
@click.option("--config", metavar="FILE", default=None, help="TOML file to read, and to write what is found into.")
@click.option("--seconds", type=click.FloatRange(0.01, 3600), default=10.0, help="For each candidate, about.  [10]")
@click.option(
    "--goal",
    type=click.Choice(["both", "throughput", "latency"]),
    default="both",
    help="What has to get better; with both, neither may get worse.  [both]",
)
@click.option(
    "--latency-ms",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Longest that a full batch may take, even if throughput is lost; without, larger sizes are tried up to 100.",
)
@click.option(
    "--only",
    type=click.Choice(TUNABLE),
    multiple=True,
    help="Try only this setting; may be repeated.",
)
@click.option("--server", "is_shared", is_flag=True, help="Write what all models share, though there are others.")
@click.option("--output", metavar="DIR", default=None, help="Where to write the plot (SVG) and its figures (CSV).")
@click.option("--dry-run", is_flag=True, help="Measure and print, and leave the configuration as it is.")
def tune(  # noqa: PLR0913, PLR0917  (one for each option)
    model: str,
    config: str | None,
    seconds: float,
    goal: str,
    latency_ms: float | None,
    only: tuple[str, ...],
    is_shared: bool,
    output: str | None,
    dry_run: bool,
) -> None:
    """Find the fastest settings for a model on this machine, by trying them.

    MODEL is a name in the configuration, or a path. Each candidate is loaded in a process of its own and measured
    beside the settings that are the best so far; what is faster by more than the noise is written into --config, with
    its gain.
    """
    request = Request(
        model,
        Budget(
            seconds,
            (_LATENCY_MS if latency_ms is None else latency_ms) / 1000,
            is_latency_demanded=latency_ms is not None,
        ),
        Goal(goal),
        config=config or os.environ.get(CONFIG_VARIABLE),
        only=only,
        is_shared=is_shared,
        is_written=not dry_run,
        output=None if output is None else Path(output),
    )
    signal.signal(signal.SIGTERM, _terminated)
    try:
        run_tuning(request, say=click.echo, tell=lambda text: click.echo(f"{text} ...", err=True))
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written", INTERRUPTED_EXIT_CODE)
    except ModelLoadError as error:
        _fail(error.message, BROKEN_EXIT_CODE)
    except PredictdError as error:
        _fail(error.message, CONFIG_EXIT_CODE)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"predictd: {text}", err=True)
    sys.exit(code)
