"""`make ways-out`: what it refuses to do, and which rows it keeps on the page."""

from __future__ import annotations

from pathlib import Path

import click.testing
import pytest
from click.testing import CliRunner

from benchmarks.report import machine as machine_module
from benchmarks.ways_out import __main__ as command
from benchmarks.ways_out import page
from benchmarks.ways_out.outcome import Outcome, Outcomes


def invoked(*words: str) -> click.testing.Result:
    return CliRunner().invoke(command.main, words)


@pytest.mark.usefixtures("no_signal")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["thread"], "no way thread; there are parent, init,"),
        (["--sizes", "3"], "expected some of 1,2,4,8, got '3'"),
        (["--sizes", "x"], "expected some of 1,2,4,8, got 'x'"),
        (["--sizes", "1,1"], "expected some of 1,2,4,8, got '1,1'"),
        (["--sizes", ""], "expected some of 1,2,4,8, got ''"),
        (["--seconds", "long"], "'long' is not a valid float"),
    ],
)
def test_what_the_command_does_not_know_is_said(words: list[str], told: str) -> None:
    done = invoked(*words)
    assert done.exit_code == 2
    assert told in done.output


def test_sizes_are_taken_in_their_order() -> None:
    assert command.sizes_of("8,1") == (1, 8)


@pytest.mark.usefixtures("no_signal")
def test_without_redis_nothing_is_measured_or_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(directory: Path) -> None:
        text = "redis-server did not become ready:\nredis_server.py: no redis-server"
        raise RuntimeError(text)

    monkeypatch.setattr(command, "redis_server", absent)
    monkeypatch.setattr(command, "measure", pytest.fail)
    monkeypatch.setattr(page, "write", pytest.fail)
    done = invoked()
    assert done.exit_code == 1
    assert "redis_server.py: no redis-server" in done.output


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PAGE", "DATA"):
        path = tmp_path / getattr(page, name).name
        path.write_text(getattr(page, name).read_text())
        monkeypatch.setattr(page, name, path)
    return tmp_path


@pytest.mark.usefixtures("no_signal")
def test_rows_of_two_machines_are_not_mixed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.write(Outcomes({"processor": "another"}, {"solo": Outcome(), "threads": Outcome()}))
    before = page.DATA.read_text()
    done = invoked("threads", "--page")
    assert done.exit_code == 2
    assert "processor another, here" in done.output
    assert "or solo too" in done.output
    assert page.DATA.read_text() == before
    monkeypatch.setattr(command, "measured", lambda names, how, console: [(name, Outcome()) for name in names])
    # Those that are lost are measured anew.
    assert invoked("threads", "solo", "--page").exit_code == 0
    assert page.stored() == Outcomes(machine_module.machine(), {"solo": Outcome(), "threads": Outcome()})


@pytest.mark.usefixtures("no_signal")
def test_rows_of_the_same_machine_are_kept(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.write(Outcomes(machine_module.machine(), {"solo": Outcome(seconds=3.0)}))
    monkeypatch.setattr(command, "measured", lambda names, how, console: [(name, Outcome()) for name in names])
    assert invoked("parent", "--page").exit_code == 0
    assert page.stored().ways == {"parent": Outcome(), "solo": Outcome(seconds=3.0)}
    assert page.with_table(page.PAGE.read_text(), page.stored()) == page.PAGE.read_text()
