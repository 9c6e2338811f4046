"""`make ways-out`: tries every way out, and prints the table."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status

from benchmarks import workloads
from benchmarks.processes.celery_worker import redis_server
from benchmarks.report.machine import machine
from benchmarks.sigterm import end_on_sigterm
from benchmarks.ways_out import page
from benchmarks.ways_out.answers import answers_of
from benchmarks.ways_out.outcome import SIZES, Outcome, Outcomes
from benchmarks.ways_out.table import COLUMNS, row
from benchmarks.ways_out.trials import Measure, measure
from benchmarks.ways_out.ways import WAYS

DEFAULTS = Measure()


@click.command()
@click.argument("names", nargs=-1, metavar=f"[{'|'.join(WAYS)}]...")
@click.option("--seconds", default=DEFAULTS.seconds, show_default=True, help="How long each load lasts.")
@click.option(
    "--sizes",
    default=",".join(map(str, SIZES)),
    show_default=True,
    callback=lambda _context, _option, text: sizes_of(text),
    help="Tasks at a time that memory is read with: some of these.",
)
@click.option("--page", "is_page", is_flag=True, help="Write what was measured into docs/celery.md too.")
def main(names: tuple[str, ...], seconds: float, sizes: tuple[int, ...], is_page: bool) -> None:
    """Measure all ways, or those named."""
    end_on_sigterm()
    unknown = set(names) - set(WAYS)
    if unknown:
        text = f"no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}"
        raise click.UsageError(text)
    console = Console(width=None if sys.stdout.isatty() else 180)
    wanted = tuple(name for name in WAYS if name in names or not names)
    ways = _kept(wanted).ways if is_page else {}
    for name, outcome in measured(wanted, Measure(sizes=sizes, seconds=seconds), console):
        console.print(f"\n[bold]{name}[/]")
        for column, cell in zip(COLUMNS, row(name, outcome), strict=True):
            console.print(f"  {column:32} {cell}", highlight=False, markup=False)
        if is_page:
            # After each way: a run that is interrupted keeps what it has.
            ways[name] = outcome
            page.write(Outcomes(machine(), {one: ways[one] for one in WAYS if one in ways}))


def sizes_of(text: str) -> tuple[int, ...]:
    """Return the sizes that a text names.

    Raises:
        click.BadParameter: It names none, or one that the table has no place for.
    """
    sizes = tuple(size for size in SIZES if str(size) in text.split(","))
    if len(sizes) != len(text.split(",")):
        message = f"expected some of {','.join(map(str, SIZES))}, got {text!r}"
        raise click.BadParameter(message)
    return sizes


def _kept(names: tuple[str, ...]) -> Outcomes:
    try:
        return page.kept(names, machine())
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def measured(names: tuple[str, ...], how: Measure, console: Console) -> Iterator[tuple[str, Outcome]]:
    """Measure some ways, one after the other.

    Raises:
        click.ClickException: There is no Redis server that starts.
    """
    with tempfile.TemporaryDirectory(prefix="pdw-", dir="/tmp") as directory, console.status("") as status:
        _say(status, "", "starting Redis once: without it no way has anything to show")
        try:
            with redis_server(Path(directory)):
                pass
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
        _say(status, "", "making the model")
        command = [sys.executable, "-m", "benchmarks.make_models", directory, workloads.A.name]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        model = Path(directory) / f"{workloads.A.name}.keras"
        answers = answers_of(model, Path(directory))
        for name in names:
            yield name, measure(WAYS[name], model, answers, replace(how, say=partial(_say, status, name)))


def _say(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


if __name__ == "__main__":
    main()
