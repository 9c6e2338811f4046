"""`make bench`: measures, prints tables, and writes them as Markdown, JSON and plots."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status

from benchmarks.report import page
from benchmarks.report.machine import OtherWork, load_before, machine
from benchmarks.report.plots import draw
from benchmarks.report.report import Report, SectionReport, markdown
from benchmarks.report.terminal import show
from benchmarks.sections.registry import SECTIONS, title
from benchmarks.sections.stage import Run

#: Ignored by git.
OUTPUT = Path(__file__).parents[1] / "run" / "bench"
DEFAULTS = Run()


@click.command()
@click.argument("names", nargs=-1, metavar=f"[{'|'.join(SECTIONS)}]...")
@click.option("--rounds", default=DEFAULTS.rounds, show_default=True, help="Rounds; medians of them are shown.")
@click.option("--seconds", default=DEFAULTS.seconds, show_default=True, help="How long each turn of a round lasts.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=OUTPUT,
    show_default="run/bench",
    help="Write bench.md, bench.json and plots there.",
)
@click.option("--page", "is_page", is_flag=True, help="Write what was measured into docs/performance.md too.")
def main(names: tuple[str, ...], rounds: int, seconds: float, output: Path, is_page: bool) -> None:
    """Measure all sections, or those named."""
    # As an exception, so that every process that was started is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    unknown = set(names) - set(SECTIONS)
    if unknown:
        text = f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}"
        raise click.UsageError(text)
    console = Console(width=None if sys.stdout.isatty() else 180)
    report = Report(machine())
    console.print(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    for name in names or SECTIONS:
        load, others = tuple(load_before()), OtherWork()
        with console.status(name) as status:
            run = Run(rounds, seconds, partial(_say, status, name))
            found = SECTIONS[name](run)
        section = SectionReport(title(name), found, rounds, seconds, load, round(others.cores(), 2))
        report.sections[name] = section
        show(f"{name}: {section.title} (others used {section.other_cores:.1f} cores)", found.figures, console)
        # After each section: a run that is interrupted keeps what it has.
        write(report, output)
        if is_page:
            page.write(page.stored().with_sections_of(report, SECTIONS))
    draw(report, output)
    missed = [figure.what for figure in report.figures() if figure.is_met is False]
    console.print(f"missed: {'; '.join(missed)}" if missed else "every goal was met")
    console.print(f"written: {output}", soft_wrap=True)


def write(report: Report, output: Path) -> None:
    """Write a report as Markdown and JSON."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "bench.md").write_text(f"# Benchmark\n\n{markdown(report)}\n")
    (output / "bench.json").write_text(report.as_json())


def _say(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


if __name__ == "__main__":
    main()
