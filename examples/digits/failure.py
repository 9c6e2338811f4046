"""What a person gets to read when a demo does not work out.

Owns the last words and the exit code. Main thread.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from examples.digits.stage import Stage, StageError

#: 128 + SIGINT, as shells count.
INTERRUPTED_EXIT_CODE = 130


@dataclass
class Outcome:
    """How it ended.

    Attributes:
        exit_code: 0 for a success.
    """

    exit_code: int | str | None = 0


@contextlib.contextmanager
def failing_politely(console: Console, stage: Stage) -> Iterator[Outcome]:
    """Turn whatever the block raises into a few lines that help, and an exit code."""
    outcome = Outcome()
    try:
        yield outcome
    except (KeyboardInterrupt, SystemExit) as stop:
        # Caught here and not later: what hangs on the exception asks Redis once more when it is let go.
        console.print("\n Stopped. Every process that was started is being ended.")
        outcome.exit_code = stop.code if isinstance(stop, SystemExit) else INTERRUPTED_EXIT_CODE
    except StageError as error:
        _explain(console, stage, str(error), [error.process])
        outcome.exit_code = 1
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
        # Whichever it was, it was most likely among the last.
        _explain(console, stage, what, stage.names()[-2:])
        outcome.exit_code = 1


def _explain(console: Console, stage: Stage, what: str, processes: list[str]) -> None:
    console.print(Text(f"\n It did not work: {what}", style="bold red"))
    for name in processes:
        tail = stage.log_tail(name)
        if tail:
            console.print(Panel(Text(tail), title=f"the end of {name}'s log", title_align="left"))
    console.print(
        "\n What usually helps:\n"
        "   make clean                   and again, if the installation was cut off\n"
        "   unset PREDICTD_BROKER_URL    if that broker is not there\n"
        "   more free memory             TensorFlow takes half a gigabyte per process\n"
    )
