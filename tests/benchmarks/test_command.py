"""`make bench`: a section that fails costs no other its figures, and is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.report.figures import Figure
from benchmarks.report.found import Found
from benchmarks.sections.stage import Run

command = pytest.importorskip("benchmarks.__main__", reason="plots need matplotlib")


def fails(run: Run) -> Found:
    """Fails."""
    text = "the daemon did not become ready"
    raise RuntimeError(text)


def finds(run: Run) -> Found:
    """Finds."""
    return Found([Figure("it", (2.0,), goal="<= 1")])


@pytest.mark.usefixtures("no_signal")
def test_a_section_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, section in {"A": fails, "B": finds}.items():
        monkeypatch.setitem(command.SECTIONS, name, section)
    done = CliRunner().invoke(command.main, ["A", "B", "--output", str(tmp_path)])
    assert done.exit_code == 1
    assert "the daemon did not become ready" in done.output
    assert "missed: it" in done.output
    assert "failed: A" in done.output
    assert list(json.loads((tmp_path / "bench.json").read_text())["sections"]) == ["B"]
    assert (tmp_path / "goals.png").exists()
