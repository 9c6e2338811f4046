"""What each way has to show: an answer, speed, memory, a soft limit that is heard, and what a crash takes along.

Owns the trials and their deadlines: a hang is a result like any other. Main thread.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from celery.exceptions import TimeoutError as CeleryTimeoutError

from benchmarks.loads import task_crowd
from benchmarks.report.machine import OtherWork
from benchmarks.ways_out.answers import Answers
from benchmarks.ways_out.apps.tasks import CALL, CRASH, OVERRUN, OVERRUN_S, PAUSE, PREDICT, WAKE, WORDS
from benchmarks.ways_out.outcome import (
    ALONE_TASKS,
    CRASHING,
    LIMIT,
    LISTEN,
    SIZES,
    START,
    WARM_UP,
    Crash,
    Held,
    Limit,
    Outcome,
    Speed,
    memory_trial,
)
from benchmarks.ways_out.stand import Stand, standing
from benchmarks.ways_out.ways import Way

#: Silence for so long is a hang: a loaded model answers in a tenth of a second.
ANSWER_S = 20.0
#: Where a child has to import TensorFlow first, beside seven others on two cores.
LOAD_S = 60.0
#: What an app gets that has answered nobody in that time, with another number of children.
LATER_LOAD_S = 30.0
#: One task under way gets this share of the time for a load at most, until it has enough tasks for a 99th percentile.
ALONE_SHARE = 2.0
WARM_UP_S = 0.5
#: After a crash a new task is answered within that time, or sent once more.
BACK_S, BACK_TRIES, LOOK_S = 20.0, 2, 0.2
#: What is finished by then was not lost.
FINISHED_S = 5.0
IN_FLIGHT = 32
#: A child that hangs has all the memory that it will have.
SETTLED_S = 3.0
UP_MESSAGE = "Timed out waiting for UP message"


@dataclass(frozen=True)
class Measure:
    """How much is measured.

    Attributes:
        sizes: How many tasks at a time memory is read with.
        slots: How many all other trials have.
        seconds: How long a load lasts.
        say: Is told how far it is.
    """

    sizes: tuple[int, ...] = SIZES
    slots: int = 4
    seconds: float = 5.0
    say: Callable[[str], None] = lambda text: None


def measure(way: Way, model: Path, answers: Answers, how: Measure) -> Outcome:
    """Return what a way has shown: of a trial that fails the reason, and of all others what they found."""
    outcome, others = Outcome(seconds=how.seconds), OtherWork()
    how.say(f"starting with {how.slots} at a time")
    with _kept(outcome, START), standing(way, how.slots, model, others) as stand:
        Trials(stand, answers, outcome, how).try_all()
    for slots in () if START in outcome.failures else how.sizes:
        how.say(f"memory with {slots} at a time")
        with _kept(outcome, memory_trial(slots)), standing(way, slots, model, others) as stand:
            Trials(stand, answers, outcome, how).read_memory()
    outcome.other_cores = others.cores()
    return outcome


@contextlib.contextmanager
def _kept(outcome: Outcome, name: str) -> Iterator[None]:
    """Note why a trial failed, whatever the reason: the others' figures are as good without it."""
    try:
        yield
    except Exception as error:
        told = str(error).strip().splitlines()
        outcome.failures[name] = told[-1] if told else type(error).__name__


class Trials:
    """The trials of one stand, in the order in which they can be had: the crash comes last."""

    def __init__(self, stand: Stand, answers: Answers, outcome: Outcome, how: Measure) -> None:
        self._stand = stand
        self._answers = answers
        self._outcome = outcome
        self._how = how
        self._pids: set[int] = set()

    def try_all(self) -> None:
        """Try everything but memory."""
        tried: list[tuple[str, Callable[[], None]]] = [(LISTEN, self.listen), (WARM_UP, self.warm_up)]
        tried += [(word, partial(self.measure_speed, word)) for word in WORDS]
        tried += [(LIMIT, self.overrun), (CRASHING, self.crash)]
        for name, one in tried:
            self._how.say(name)
            with _kept(self._outcome, name):
                one()
        self._outcome.starts_killed = self._stand.log.count(UP_MESSAGE)

    def listen(self) -> None:
        """See whether it answers at all."""
        way = self._stand.way
        first_s = ANSWER_S if way.is_loaded else LOAD_S
        for word, timeout_s in ((PREDICT, first_s), (CALL, ANSWER_S)):
            result = self._send(word)
            try:
                result.get(timeout=timeout_s, propagate=False)
            except CeleryTimeoutError:
                self._outcome.silent[word] = timeout_s
                if way.has_children:
                    # The next trial gets a child that doesn't hang yet.
                    self._stand.app.control.revoke(result.id, terminate=True, signal="SIGKILL")

    def warm_up(self) -> None:
        """Have all children ask once before they are timed; a single process has done so by now."""
        if self._outcome.is_answering and self._stand.way.processes(self._stand.slots) > 1:
            self.awake()

    def awake(self) -> None:
        """Have every process that runs tasks answer once, each kind of task that is answered at all."""
        silent, slots = self._outcome.silent, self._stand.slots
        end_s = time.monotonic() + (LOAD_S if self._outcome.is_answering else LATER_LOAD_S)
        # Where a child was never up it may be with fewer beside it, and hangs in nothing then.
        words = [word for word in WORDS if word not in silent] or list(WORDS)
        while len(self._pids) < self._stand.way.processes(slots) and time.monotonic() < end_s:
            answers = _answered([self._send(WAKE, words=words) for _ in range(slots)], end_s)
            self._pids.update(pid for pid in answers if pid is not None)

    def let_hang(self) -> None:
        """Give each child a task that it hangs in: it takes then what it will take for ever."""
        for _ in range(self._stand.slots):
            self._send(WAKE, words=[PREDICT])
        time.sleep(SETTLED_S)

    def read_memory(self) -> None:
        """Note what it takes when all its processes have asked, or hang."""
        stand = self._stand
        if self._outcome.is_answering or not stand.way.is_loaded:
            self.awake()
        else:
            self.let_hang()
        self._outcome.memory.append(Held(stand.slots, stand.memory_mib(), len(self._pids)))

    def measure_speed(self, word: str) -> None:
        """Measure one kind of task."""
        if self._outcome.is_answering and word not in self._outcome.silent:
            self._outcome.speeds[word] = self._speed(word)

    def overrun(self) -> None:
        """Have a task overrun its limits."""
        self._outcome.limit = self._overrun()

    def crash(self) -> None:
        """Have the model's process crash."""
        self._outcome.crash = self._crash()

    def _send(self, task: str, number: int = 0, *, words: list[str] | None = None) -> Any:
        arguments: tuple[object, ...] = (self._answers.row(number),)
        if words is not None:
            arguments += (words,)
        return self._stand.app.send_task(task, arguments)

    def _speed(self, word: str) -> Speed:
        seconds, wrong = self._how.seconds, [0]
        drain = task_crowd.drain_of(self._stand.app)

        def check(number: int, answer: Any) -> None:
            wrong[0] += not self._answers.is_right(number, answer)

        def turn(in_flight: int, seconds: float, most: float = math.inf) -> task_crowd.TaskCrowd:
            enqueue = partial(self._send, word)
            return task_crowd.ask(enqueue, drain, in_flight, seconds, timeout_s=ANSWER_S, most=most, check=check)

        self._stand.revive()
        alone = turn(1, seconds * ALONE_SHARE, ALONE_TASKS)
        first, many = turn(IN_FLIGHT, min(WARM_UP_S, seconds)), turn(IN_FLIGHT, seconds)
        # What fails does so at once, and may leave nothing for the turn that is timed.
        failed = first.failed + many.failed
        unanswered = first.unanswered + many.unanswered
        errors = failed + alone.failed
        return Speed(
            per_second=many.per_second,
            p99_ms=_p99_ms(many.took),
            alone_p99_ms=_p99_ms(alone.took),
            asked=first.done + many.done + unanswered,
            failed=failed.total(),
            unanswered=unanswered,
            workers_died=self._stand.workers - self._stand.workers_alive(),
            wrong=wrong[0],
            error=errors.most_common(1)[0][0] if errors else "",
            alone_asked=alone.done + alone.unanswered,
            alone_failed=alone.failed.total() + alone.unanswered,
        )

    def _overrun(self) -> Limit:
        self._stand.revive()
        began_s = time.monotonic()
        try:
            result = self._send(OVERRUN)
            ended = result.get(timeout=OVERRUN_S + ANSWER_S, propagate=False)
        except CeleryTimeoutError:
            return Limit("", time.monotonic() - began_s)
        by = ended if isinstance(ended, str) else type(ended).__name__
        return Limit(by, time.monotonic() - began_s)

    def _crash(self) -> Crash:
        stand = self._stand
        stand.revive()
        is_over = stand.directory / "others-may-end"
        others = [stand.app.send_task(PAUSE, (str(is_over),)) for _ in range(stand.slots - 1)]
        end_s = time.monotonic() + ANSWER_S
        while any(other.state == "PENDING" for other in others) and time.monotonic() < end_s:
            time.sleep(0.02)
        began_s = time.monotonic()
        if stand.served is not None:
            os.kill(stand.served.pid, signal.SIGSEGV)
        else:
            stand.app.send_task(CRASH)
        asked = self._send(PREDICT)
        if stand.served is not None:
            # As its supervisor does, which hears of its end first; until then it has its endpoint.
            os.waitid(os.P_PID, stand.served.pid, os.WEXITED | os.WNOWAIT)
            stand.start_daemon()
        back_s = self._back_s(asked, began_s) if self._outcome.is_answering else None
        waited_s = time.monotonic() - began_s if self._outcome.is_answering else 0.0
        is_over.touch()
        finished = sum(answer == "done" for answer in _answered(others, time.monotonic() + FINISHED_S))
        return Crash(
            others=len(others),
            finished=finished,
            workers_left=stand.workers_alive(),
            workers=stand.workers,
            back_s=back_s,
            waited_s=waited_s if back_s is None else 0.0,
        )

    def _back_s(self, asked: Any, began_s: float) -> float | None:
        """Return how long until a new task is answered; the others keep their places until then."""
        stand = self._stand
        for _ in range(BACK_TRIES):
            end_s = time.monotonic() + BACK_S
            # A worker that is gone is not started again, and all other places are taken.
            while stand.workers_alive() == stand.workers and not asked.failed() and time.monotonic() < end_s:
                if isinstance(_answered([asked], time.monotonic() + LOOK_S)[0], list):
                    return time.monotonic() - began_s
            # What was asked may have gone down with the process.
            asked = self._send(PREDICT)
        return None


def _answered(results: Iterable[Any], end_s: float) -> list[Any]:
    """Return the answers that come before a time; None for one that doesn't, or is an error."""
    answers = []
    for result in results:
        try:
            answer = result.get(timeout=max(end_s - time.monotonic(), 0.01), propagate=False)
        except CeleryTimeoutError:
            answer = None
        answers.append(None if isinstance(answer, Exception) else answer)
    return answers


def _p99_ms(took: list[float]) -> float:
    return float(np.percentile(took, 99)) * 1000 if took else 0.0
