"""A report: the machine, and what each section found there. Read from JSON, written as JSON and Markdown.

Owns both forms. Sections of several runs may stand in one report: each says how long it was measured, and how busy the
machine was before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.report.figures import Figure, median_and_spread
from benchmarks.report.found import Found, found_from_json


@dataclass(frozen=True)
class SectionReport:
    """What one section found.

    Attributes:
        title: What it measures.
        found: What it found.
        rounds: How many rounds.
        seconds: How long each turn.
        load_before: Load averages before it began.
        other_cores: Cores that others used meanwhile.
    """

    title: str
    found: Found
    rounds: int
    seconds: float
    load_before: tuple[float, ...]
    other_cores: float


@dataclass
class Report:
    """All sections, by name.

    Attributes:
        machine: Where they were measured.
        sections: What they found.
    """

    machine: dict[str, str] = field(default_factory=dict)
    sections: dict[str, SectionReport] = field(default_factory=dict)

    def figures(self) -> list[Figure]:
        """Return all figures."""
        return [figure for section in self.sections.values() for figure in section.found.figures]

    def with_sections_of(self, other: Report, order: Iterable[str]) -> Report:
        """Return this report with what another one measured anew."""
        both = {**self.sections, **other.sections}
        return Report(other.machine, {name: both[name] for name in order if name in both})

    def as_json(self) -> str:
        """Return it as JSON, one line for each row so that two versions can be compared."""
        sections = [f"{json.dumps(name)}: {{\n{_section_json(section)}\n}}" for name, section in self.sections.items()]
        return f'{{\n"machine": {json.dumps(self.machine)},\n"sections": {{\n{_joined(sections)}\n}}\n}}\n'


def report_from_json(text: str) -> Report:
    """Return what `Report.as_json` was made of."""
    plain = json.loads(text)
    sections = {
        name: SectionReport(
            title=section["title"],
            found=found_from_json(section["found"]),
            rounds=section["rounds"],
            seconds=section["seconds"],
            load_before=tuple(section["load_before"]),
            other_cores=section["other_cores"],
        )
        for name, section in plain["sections"].items()
    }
    return Report(plain["machine"], sections)


def _section_json(section: SectionReport) -> str:
    words = {name: value for name, value in asdict(section).items() if name != "found"}
    tables = [
        f"{json.dumps(name)}: [\n{_joined(json.dumps(row) for row in rows)}\n]" if rows else f"{json.dumps(name)}: []"
        for name, rows in section.found.as_json().items()
    ]
    told = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in words.items()]
    return _joined([*told, f'"found": {{\n{_joined(tables)}\n}}'])


def _joined(lines: Iterable[str]) -> str:
    return ",\n".join(lines)


def markdown(report: Report) -> str:
    """Return a report's tables: goals, other figures, loads, limits, memory, and how it was measured."""
    figures = report.figures()
    found = [section.found for section in report.sections.values()]
    parts = [
        "### Goals",
        _figure_table([figure for figure in figures if figure.goal]),
        "### Figures without a goal",
        _figure_table([figure for figure in figures if not figure.goal]),
        "### Loads",
        _table(
            (
                "workload",
                "callers",
                "way",
                "asked/s",
                "answers/s",
                "p50, us",
                "p99, us",
                "client CPU, us",
                "server CPU, us",
            ),
            [
                (
                    row.what,
                    row.callers,
                    row.way,
                    *map(
                        median_and_spread,
                        (
                            row.offered_per_second,
                            row.per_second,
                            row.p50_us,
                            row.p99_us,
                            row.client_cpu_us,
                            row.server_cpu_us,
                        ),
                    ),
                )
                for one in found
                for row in one.loads
            ],
        ),
        "### The model in a process of its own",
        _table(
            ("workload", "way", "rows", "p50, us", "rows/s"),
            [
                (row.what, row.way, str(row.rows), median_and_spread(row.p50_us), median_and_spread(row.rows_per_s))
                for one in found
                for row in one.limits
            ],
        ),
        "### Memory of every process, MiB",
        _table(
            ("process", "all it maps", "with its share of the shared", "its own"),
            [
                (row.what, *(f"{value:,.0f}" for value in (row.rss_mib, row.pss_mib, row.uss_mib)))
                for one in found
                for row in one.processes
            ],
        ),
        "### How it was measured",
        ", ".join(f"{name} {value}" for name, value in report.machine.items()) + ".",
        _table(
            ("section", "what", "rounds", "seconds a turn", "load average before", "cores that others used"),
            [
                (
                    name,
                    one.title,
                    str(one.rounds),
                    f"{one.seconds:g}",
                    ", ".join(map(str, one.load_before)),
                    f"{one.other_cores:.1f}",
                )
                for name, one in report.sections.items()
            ],
        ),
    ]
    return "\n\n".join(parts)


def _figure_table(figures: Sequence[Figure]) -> str:
    rows = [(one.what, *one.texts, one.goal, one.verdict, one.beside) for one in figures]
    return _table(("what", "median", "spread", "goal", "", "measured beside it"), rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)
