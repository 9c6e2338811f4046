"""What a report is made of: figures that are judged, JSON that is read again, Markdown, plots, the page."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.report import page
from benchmarks.report.figures import Figure, median_and_spread
from benchmarks.report.found import Found, LimitRow, LoadRow, ProcessRow
from benchmarks.report.machine import OtherWork, machine
from benchmarks.report.report import Report, SectionReport, markdown, report_from_json
from benchmarks.sections.registry import SECTIONS, title

#: Values that survive being kept with a few digits.
VALUES = st.integers(1, 9999).map(float)
ROUNDS = st.lists(VALUES, max_size=5).map(tuple)
TEXTS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=10)
GOALS = st.one_of(st.just(""), st.builds("{} {}".format, st.sampled_from(["<=", ">="]), st.integers(1, 100)))
FIGURES = st.builds(Figure, TEXTS, ROUNDS, TEXTS, GOALS, TEXTS)
LOADS = st.builds(LoadRow, TEXTS, TEXTS, TEXTS, ROUNDS, ROUNDS, ROUNDS, ROUNDS, ROUNDS, ROUNDS)
LIMITS = st.builds(LimitRow, TEXTS, TEXTS, st.integers(1, 128), ROUNDS, ROUNDS)
PROCESSES = st.builds(ProcessRow, TEXTS, VALUES, VALUES, VALUES)
FOUND = st.builds(
    Found,
    st.lists(FIGURES, max_size=3),
    st.lists(LOADS, max_size=2),
    st.lists(LIMITS, max_size=2),
    st.lists(PROCESSES, max_size=2),
)
SECTION_REPORTS = st.builds(SectionReport, TEXTS, FOUND, st.integers(1, 9), VALUES, ROUNDS, VALUES)
REPORTS = st.builds(Report, st.dictionaries(TEXTS, TEXTS), st.dictionaries(TEXTS, SECTION_REPORTS, max_size=3))

few = settings(max_examples=30, deadline=None)


@few
@given(REPORTS)
def test_json_is_read_as_it_was_written(report: Report) -> None:
    assert report_from_json(report.as_json()) == report


@few
@given(REPORTS)
def test_markdown_has_a_row_for_everything(report: Report) -> None:
    text = markdown(report)
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    found = [section.found for section in report.sections.values()]
    rows = sum(len(one.figures) + len(one.loads) + len(one.limits) + len(one.processes) + 1 for one in found)
    assert sum(len(table.splitlines()) - 2 for table in tables) == rows


@pytest.mark.parametrize(
    ("rounds", "goal", "verdict"),
    [
        ((0.8, 1.0, 9.0), "<= 1", "met"),
        ((0.8, 1.1, 9.0), "<= 1", "missed"),
        ((100.0,), ">= 100", "met"),
        ((99.0,), ">= 100", "missed"),
        ((99.0,), "", ""),
        ((), "<= 1", ""),
    ],
)
def test_the_median_is_judged(rounds: tuple[float, ...], goal: str, verdict: str) -> None:
    assert Figure("it", rounds, goal=goal).verdict == verdict


def test_values_are_shown_with_their_spread() -> None:
    assert median_and_spread((1.0, 2000.0, 3.0)) == "3.00 (1.00-2,000)"
    assert median_and_spread((0.00123,)) == "0.0012"
    assert median_and_spread(()) == "-"


def test_what_is_measured_anew_replaces_what_was() -> None:
    old, new = (SectionReport(name, Found(), 1, 1.0, (0.0,), 0.0) for name in ("old", "new"))
    both = Report({}, {"B": old, "A": old}).with_sections_of(Report({"it": "x"}, {"B": new}), ["A", "B", "C"])
    assert both == Report({"it": "x"}, {"A": old, "B": new})
    assert list(both.sections) == ["A", "B"]


@pytest.mark.slow
def test_plots_are_drawn_of_what_the_page_shows(tmp_path: Path) -> None:
    plots = pytest.importorskip("benchmarks.report.plots", reason="plots need matplotlib")
    # Every panel takes its time.
    stored = page.stored()
    drawn = plots.draw(Report(stored.machine, {"A": stored.sections["A"]}), tmp_path)
    assert {path.name for path in drawn} == {"goals.png", "throughput.png", "latency.png", "p99.png", "batches.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert plots.draw(Report(), tmp_path) == []


def test_the_machine_is_told_without_a_name() -> None:
    told = machine()
    assert {"processor", "memory", "system", "Python", "numpy"} <= set(told)
    assert re.fullmatch(r"\w+ (\d+\.\d+)?", told["system"]), told


def test_what_we_use_ourselves_is_not_others_work() -> None:
    others = OtherWork()
    used = time.process_time()
    while time.process_time() < used + 0.05:
        pass
    # /proc/stat counts in ticks.
    assert 0 <= others.cores() <= (psutil.cpu_count() or 1) + 1


def test_the_page_shows_its_json() -> None:
    text = page.PAGE.read_text()
    assert page.with_tables(text, page.stored()) == text, "run python -m benchmarks.report.page"


def test_the_page_has_every_section() -> None:
    titles = {name: section.title for name, section in page.stored().sections.items()}
    assert titles == {name: title(name) for name in SECTIONS}


def test_every_section_says_what_it_is() -> None:
    assert all(title(name) for name in SECTIONS)
