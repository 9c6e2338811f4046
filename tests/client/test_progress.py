"""The progress bar: when it is drawn, and how."""

from __future__ import annotations

import io

import pytest

from predictd.progress import ProgressBar


class Screen(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def drawn(verbose: str | int, *, total: int | None = 4, step_s: float = 1.0, is_terminal: bool = True) -> str:
    now_s = [0.0]
    screen = Screen(is_terminal=is_terminal)
    bar = ProgressBar(total, verbose, stream=screen, clock=lambda: now_s[0])
    for _ in range(total or 4):
        now_s[0] += step_s
        bar.step()
    bar.close()
    return screen.getvalue()


@pytest.mark.parametrize("verbose", [0, "0"])
def test_silence(verbose: str | int) -> None:
    assert drawn(verbose) == ""


def test_a_bar_on_a_terminal() -> None:
    lines = drawn(1).split("\r")
    assert "1/4" in lines[1]
    assert "3s" in lines[1]
    assert "1s/step" in lines[1]
    assert lines[-1].count("━") == 20
    assert lines[-1].endswith("\n")


def test_auto_shows_long_work_to_a_person_only() -> None:
    assert "4/4" in drawn("auto")
    assert drawn("auto", step_s=0.01) == ""
    assert drawn("auto", is_terminal=False) == ""
    assert drawn("auto", total=1) == ""


def test_a_log_gets_one_line() -> None:
    for verbose in (1, 2):
        assert drawn(verbose, is_terminal=False) == "4/4 ━━━━━━━━━━━━━━━━━━━━ 4s 1s/step\n"
    assert drawn(2).count("\n") == 1
    assert "\r" not in drawn(2)


def test_an_unknown_number_of_steps() -> None:
    assert "4/Unknown" in drawn(2, total=None)


@pytest.mark.parametrize(("step_s", "said"), [(2.0, "2s/step"), (0.02, "20ms/step"), (0.00002, "20us/step")])
def test_durations(step_s: float, said: str) -> None:
    assert said in drawn(2, step_s=step_s)
