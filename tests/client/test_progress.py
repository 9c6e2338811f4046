"""The progress bar: when it is drawn, and how."""

from __future__ import annotations

import io
import re
import sys
from typing import TextIO, cast

import pytest

from predictd.rows.progress import ProgressBar


class Screen(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def drawn(
    verbose: str | int, *, total: int | None = 4, steps: int = 4, step_s: float = 1.0, is_terminal: bool = True
) -> str:
    now_s = [0.0]
    screen = Screen(is_terminal=is_terminal)
    bar = ProgressBar(total, verbose, stream=screen, clock=lambda: now_s[0])
    for done in range(1, steps + 1):
        now_s[0] += step_s
        bar.reach(done)
    bar.close()
    return screen.getvalue()


def seen(output: str) -> list[str]:
    """What a person reads, drawing after drawing."""
    return [re.sub(r"\x1b\[\d+m|\x08", "", line).rstrip() for line in output.split("\r") if line]


@pytest.mark.parametrize("verbose", [0, False, "0", 3, "nonsense"])
def test_silence(verbose: str | int) -> None:
    assert drawn(verbose) == ""


def test_a_bar_on_a_terminal() -> None:
    full = "━" * 20
    assert seen(drawn(1)) == [
        f"1/4 {full} 3s 1s/step",
        f"2/4 {full} 2s 1s/step",
        f"3/4 {full} 1s 1s/step",
        f"4/4 {full} 0s 1s/step",
        f"4/4 {full} 4s 1s/step",
    ]
    first = "\r\x1b[1m1/4\x1b[0m \x1b[32m━━━━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━━\x1b[0m \x1b[1m3s\x1b[0m 1s/step"
    assert drawn(1).startswith(first)
    assert drawn(1).endswith("\n")


def test_it_is_not_drawn_more_often_than_anybody_can_read() -> None:
    assert len(seen(drawn(1, total=1000, steps=1000, step_s=0.001))) == pytest.approx(21, abs=2)


def test_steps_may_come_several_at_a_time() -> None:
    screen = Screen(is_terminal=True)
    bar = ProgressBar(10, 1, stream=screen, clock=iter([0.0, 2.0, 4.0, 5.0]).__next__)
    bar.reach(4)
    bar.reach(4)
    bar.reach(10)
    bar.close()
    assert [line.replace("━", "") for line in seen(screen.getvalue())] == [
        " 4/10  3s 500ms/step",
        "10/10  0s 333ms/step",
        "10/10  5s 500ms/step",
    ]


def test_auto_shows_long_work_to_a_person_only() -> None:
    assert "4/4" in drawn("auto")
    assert drawn("auto", step_s=0.01) == ""
    assert drawn("auto", is_terminal=False) == ""


def test_a_notebook_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(is_terminal=False)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    bar = ProgressBar(1, 1)
    bar.reach(1)
    bar.close()
    assert screen.getvalue().startswith("\r\x1b[1m1/1")


def test_a_log_gets_one_line() -> None:
    assert drawn(1, is_terminal=False) == "4/4 ━━━━━━━━━━━━━━━━━━━━ 4s 1s/step\n"
    for is_terminal in (True, False):
        assert drawn(2, is_terminal=is_terminal) == "4/4 - 4s - 1s/step\n"


def test_an_unknown_number_of_steps() -> None:
    assert seen(drawn(1, total=None))[:2] == ["      1/Unknown 1s 1s/step", "      2/Unknown 2s 1s/step"]
    assert seen(drawn(1, total=None))[-1] == f"4/4 {'━' * 20} 4s 1s/step"
    assert drawn(2, total=None) == "4/4 - 4s - 1s/step\n"


def test_nothing_done_is_nothing_to_show() -> None:
    for total in (0, None):
        assert drawn(1, total=total, steps=0) == ""


@pytest.mark.parametrize(("step_s", "said"), [(2.0, "2s/step"), (0.02, "20ms/step"), (0.00002, "20us/step")])
def test_durations(step_s: float, said: str) -> None:
    assert said in drawn(2, step_s=step_s)


@pytest.mark.parametrize(("step_s", "said"), [(1.5, "13s"), (10.0, "1:30"), (1000.0, "2:30:00")])
def test_the_time_that_is_left(step_s: float, said: str) -> None:
    assert f" {said} " in seen(drawn(1, total=10, steps=1, step_s=step_s))[0]


class Logger:
    """What some programs put in standard output's place: it can be written to, and no more."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


@pytest.mark.parametrize("verbose", [0, "auto", 1, 2])
def test_a_stream_that_does_not_say_whether_it_is_a_terminal_is_none(verbose: str | int) -> None:
    logger = Logger()
    bar = ProgressBar(2, verbose, stream=cast("TextIO", logger), clock=lambda: 0.0)
    bar.reach(2)
    bar.close()
    assert logger.text.count("\n") == (verbose in {1, 2})
    assert "\r" not in logger.text


@pytest.mark.parametrize("verbose", [0, "auto", 1, 2])
def test_nothing_is_drawn_on_a_closed_stream(verbose: str | int) -> None:
    closed = io.StringIO()
    closed.close()
    bar = ProgressBar(2, verbose, stream=closed, clock=lambda: 0.0)
    bar.reach(2)
    bar.close()


def test_silence_asks_the_stream_for_nothing() -> None:
    bar = ProgressBar(2, 0, stream=cast("TextIO", object()))
    bar.reach(2)
    bar.close()
