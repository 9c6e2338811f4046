"""`make bench`: measures, prints tables, and writes them as Markdown, JSON and plots."""

from __future__ import annotations

import sys
import traceback
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
from benchmarks.sigterm import end_on_sigterm

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
    end_on_sigterm()
    unknown = set(names) - set(SECTIONS)
    if unknown:
        text = f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}"
        raise click.UsageError(text)
    console = Console(width=None if sys.stdout.isatty() else 180)
    report = Report(machine())
    console.print(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    failed: list[str] = []
    try:
        for name in names or SECTIONS:
            try:
                section = measure(name, rounds, seconds, console)
            except Exception:
                # The others' figures are as good without it.
                console.print(f"{name} failed:\n{traceback.format_exc()}", markup=False, soft_wrap=True)
                failed.append(name)
                continue
            report.sections[name] = section
            # After each section: a run that is interrupted keeps what it has.
            write(report, output)
            if is_page:
                page.write(page.stored().with_sections_of(report, SECTIONS))
    finally:
        if report.sections:
            draw(report, output)
            console.print(f"written: {output}", soft_wrap=True)
        missed = [figure.what for figure in report.figures() if figure.is_met is False]
        console.print(f"missed: {'; '.join(missed)}" if missed else "every goal of what was measured was met")
    if failed:
        console.print(f"failed: {', '.join(failed)}")
        sys.exit(1)


def measure(name: str, rounds: int, seconds: float, console: Console) -> SectionReport:
    """Measure one section, and print what it found."""
    load, others = tuple(load_before()), OtherWork()
    with console.status(name) as status:
        found = SECTIONS[name](Run(rounds, seconds, partial(_say, status, name)))
    section = SectionReport(title(name), found, rounds, seconds, load, round(others.cores(), 2))
    show(f"{name}: {section.title} (others used {section.other_cores:.1f} cores)", found.figures, console)
    return section


def write(report: Report, output: Path) -> None:
    """Write a report as Markdown and JSON."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "bench.md").write_text(f"# Benchmark\n\n{markdown(report)}\n")
    (output / "bench.json").write_text(report.as_json())


def _say(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


if __name__ == "__main__":
    main()
