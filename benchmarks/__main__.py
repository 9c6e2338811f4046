"""`make bench`: measures, prints a table, and writes the same as Markdown and JSON."""

from __future__ import annotations

import os
import platform
import sys
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status

from benchmarks.figures import Figure, as_json, markdown, show
from benchmarks.sections import SECTIONS


@click.command()
@click.argument("names", nargs=-1, metavar=f"[{'|'.join(SECTIONS)}]...")
@click.option("--rounds", default=5, show_default=True, help="Rounds; medians of them are shown.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each load lasts in each round.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write bench.md and bench.json there.")
def main(names: tuple[str, ...], rounds: int, seconds: float, output: Path | None) -> None:
    """Measure all sections, or those named."""
    unknown = set(names) - set(SECTIONS)
    if unknown:
        text = f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}"
        raise click.UsageError(text)
    console = Console(width=None if sys.stdout.isatty() else 160)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load average before: {load}")
    figures: list[Figure] = []
    for name in names or SECTIONS:
        with console.status(name) as status:
            found = SECTIONS[name](rounds, seconds, partial(_say, status, name))
        show(f"{name}: {SECTIONS[name].__doc__}", found, console)
        figures.extend(found)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "bench.md").write_text(markdown(figures))
        (output / "bench.json").write_text(as_json(figures) + "\n")
    missed = [figure.what for figure in figures if figure.is_met is False]
    console.print(f"missed: {'; '.join(missed)}" if missed else "every goal was met")


def _say(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


if __name__ == "__main__":
    main()
