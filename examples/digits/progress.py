"""Steps as a person likes to watch them: a bar while one runs, a line with its time when it is done.

Owns the terminal while the demo works. Without a terminal (a log, a pipe) only the lines are written. Main thread.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

#: Narrower than any terminal in use, so that the seconds at the end of each line form a column.
LINE_WIDTH = 79


class Step:
    """One step that runs; tell it how far it is.

    Attributes:
        done: What its line says in the end; starts as what it is doing.
    """

    def __init__(self, done: str, progress: Progress, task: TaskID) -> None:
        self.done = done
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """Count one more piece as done."""
        self._progress.advance(self._task)

    def reach(self, count: int) -> None:
        """Set how many pieces are done."""
        self._progress.update(self._task, completed=count)


class Steps:
    """The list of what has been done.

    Args:
        console: Where to write.
        clock: Returns seconds, never goes back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.perf_counter) -> None:
        self._console = console
        self._clock = clock
        is_unicode = "utf" in (console.encoding or "").lower()
        self._mark = "✓" if is_unicode else "ok"

    @contextlib.contextmanager
    def step(self, doing: str, done: str, total: int | None = None) -> Iterator[Step]:
        """Show a bar while the block runs, and a line when it is done.

        Args:
            doing: What to say meanwhile.
            done: What to say then; the step's `done` may be changed on the way.
            total: How many pieces there are; None for a bar that only moves.
        """
        started_s = self._clock()
        with self._bar() as progress:
            step = Step(done, progress, progress.add_task(doing, total=total))
            yield step
        self._line(step.done, self._clock() - started_s)

    def _bar(self) -> Progress:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
        )
        return Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def _line(self, done: str, seconds: float) -> None:
        line = Text.assemble((f" {self._mark} ", "green"), done)
        line.pad_right(max(1, LINE_WIDTH - 8 - line.cell_len))
        line.append(f"{seconds:5.1f} s", "dim")
        self._console.print(line, soft_wrap=True)
