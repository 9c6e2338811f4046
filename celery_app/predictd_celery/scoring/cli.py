"""`predictd score`: bulk scoring from a shell.

Owns the command's options, what Ctrl-C does, and the last line. Main thread. It is here and not among the client's own
commands, because the client may not import this package; without Celery installed it scores from here all the same.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from predictd.cli.asking import EPILOG, client_for, endpoint_options, readable_errors
from predictd_celery.scoring.formats.spans import HEADERS
from predictd_celery.scoring.job import ScoreReport
from predictd_celery.scoring.questions import ON_ERROR
from predictd_celery.scoring.run import DEFAULT_CHUNK_BYTES, DEFAULT_CHUNK_ROWS, DEFAULT_WINDOW
from predictd_celery.scoring.run import score as run_score
from predictd_proto.errors import ConfigError


@click.command(epilog=EPILOG)
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--output", required=True, metavar="DIR", help="The folder for the outputs and their manifest.")
@click.option("--version", "version", metavar="V", default=None, help="A version number or a label.")
@click.option("--signature", metavar="NAME", default=None, help="Another signature than the model's default.")
@click.option(
    "--on-error",
    type=click.Choice(ON_ERROR),
    default="stop",
    show_default=True,
    help="A row that can't be read, or that the model fails on: stop there, leave it out, or write an empty one.",
)
@click.option("--celery", "is_celery", is_flag=True, help="Through the workers at $PREDICTD_BROKER_URL, not from here.")
@click.option(
    "--shared-folder", is_flag=True, help="The workers see the same paths: they read and write there themselves."
)
@click.option(
    "--window", type=int, default=DEFAULT_WINDOW, show_default=True, metavar="N", help="Chunks under way at once."
)
@click.option(
    "--chunk-rows", type=int, default=DEFAULT_CHUNK_ROWS, show_default=True, metavar="N", help="Rows in a chunk."
)
@click.option(
    "--chunk-bytes",
    type=int,
    default=DEFAULT_CHUNK_BYTES,
    show_default=True,
    metavar="N",
    help="Bytes in one, at most.",
)
@click.option(
    "--header",
    type=click.Choice(HEADERS),
    default="auto",
    show_default=True,
    help="Whether the first line of .csv files is a header; auto: it has a name in it and no number.",
)
@click.option("--rescore-changed", is_flag=True, help="Score inputs anew that have changed since the run began.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@endpoint_options
@readable_errors
def score(endpoints: tuple[str, ...], timeout_ms: float, is_celery: bool, quiet: bool, **words: Any) -> None:
    """Score the rows of INPUT... by MODEL into files of the same kinds, one output row for each row, in order.

    INPUT is a .csv, .jsonl, .npy, .npz or .parquet file, or a folder of images. What is done stays done: after an
    error, a crash or Ctrl-C the same command goes on where it was.
    """
    version = words.pop("version")
    words["version"] = int(version) if version and version.isdecimal() else version
    with _stopping() as is_stopping:
        report = run_score(
            **words,
            client=None if is_celery else client_for(endpoints, timeout_ms),
            app=_app() if is_celery else None,
            progress=0 if quiet else "auto",
            is_stopping=is_stopping,
        )
    click.echo(_last_line(report))


def _app() -> Any:
    try:
        from predictd_celery.application import app
    except ImportError as error:
        message = f"--celery needs Celery: pip install 'predictd[celery]' ({error})"
        raise ConfigError(message) from error
    return app


def _last_line(report: ScoreReport) -> str:
    kept = f", {report.kept_chunks} done before" if report.kept_chunks else ""
    bad = f", {report.bad_rows} bad rows (see manifest.json)" if report.bad_rows else ""
    names = ", ".join(report.outputs)
    return f"{report.rows} rows in {report.chunks} chunks{kept}{bad}: {names} in {report.folder}"


class _Stop:
    def __init__(self) -> None:
        self.is_asked = False

    def __call__(self) -> bool:
        return self.is_asked

    def ask(self, number: int, frame: object) -> None:
        del number, frame
        if self.is_asked:
            # Who asks twice won't wait; chunks' files are whole or absent.
            raise KeyboardInterrupt
        self.is_asked = True
        click.echo("predictd: stopping when what is under way is done; once more to stop at once", err=True)


@contextmanager
def _stopping() -> Iterator[_Stop]:
    stop = _Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, action in before.items():
            signal.signal(number, action)
