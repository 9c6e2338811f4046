"""What each way showed, and all of them as JSON.

Owns these records. Values are kept with a few digits; the rest is noise.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.ways_out.apps.tasks import PREDICT

DIGITS = 3
#: Tasks at a time that memory is read with.
SIZES = (1, 2, 4, 8)
#: So many make a 99th percentile; where one under way takes long there are fewer, and the table says so.
ALONE_TASKS = 100
#: Trials, as `Outcome.failures` names them; the kinds of task are those of the loads.
START, LISTEN, WARM_UP, LIMIT, CRASHING = "start", "listen", "warm-up", "limit", "crash"


def memory_trial(slots: int) -> str:
    """Return the name of the trial that reads memory with so many tasks at a time."""
    return f"memory with {slots}"


@dataclass(frozen=True)
class Speed:
    """Tasks of one kind under way, four at a time.

    Attributes:
        per_second: Answers per second, many under way.
        p99_ms: From `delay` to the answer, 99th percentile, many under way; 0 where there was none.
        alone_p99_ms: The same, one under way; 0 where there was none.
        asked: How many tasks, many under way; what follows is of these.
        failed: How many of them failed.
        unanswered: How many had no answer and no error.
        workers_died: How many workers were gone afterwards.
        wrong: How many answers weren't Keras' own.
        error: The kind that most failed with, one under way included.
        alone_asked: How many tasks, one under way.
        alone_failed: How many of them failed, or had no answer.
    """

    per_second: float
    p99_ms: float
    alone_p99_ms: float
    asked: int
    failed: int = 0
    unanswered: int = 0
    workers_died: int = 0
    wrong: int = 0
    error: str = ""
    alone_asked: int = 0
    alone_failed: int = 0


@dataclass(frozen=True)
class Held:
    """Memory with so many tasks at a time.

    Attributes:
        slots: How many.
        mib: Of workers, children and daemon, each shared page counted once.
        processes: In how many processes tasks had run by then.
    """

    slots: int
    mib: float
    processes: int


@dataclass(frozen=True)
class Limit:
    """What ended a task that predicts far beyond its limits.

    Attributes:
        by: The exception's name; "nobody" where it ran to its own end, "" where nothing was heard of it.
        after_s: After how long.
    """

    by: str
    after_s: float


@dataclass(frozen=True)
class Crash:
    """What a crash of the model's process took along.

    Attributes:
        others: Other people's tasks that were under way in the same workers.
        finished: How many of them finished.
        workers_left: How many of the workers were there afterwards.
        workers: How many there had been.
        back_s: How long until a new task was answered; None where none was.
        waited_s: How long one was waited for in vain.
    """

    others: int
    finished: int
    workers_left: int
    workers: int
    back_s: float | None
    waited_s: float = 0.0


@dataclass
class Outcome:
    """All that one way showed.

    Attributes:
        silent: By kind of task: for how long there was no answer, where there was none.
        speeds: By kind of task.
        memory: By tasks at a time.
        limit: What became of a task that overran its limits.
        crash: What became of others.
        starts_killed: How many children Celery killed because they were not up in time.
        failures: By trial: why it has no figures, or not all.
        other_cores: Cores that others used meanwhile; None where nobody looked.
        seconds: How long each load lasted.
    """

    silent: dict[str, float] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)
    memory: list[Held] = field(default_factory=list)
    limit: Limit | None = None
    crash: Crash | None = None
    starts_killed: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    other_cores: float | None = None
    seconds: float = 0.0

    @property
    def is_answering(self) -> bool:
        """Whether `model.predict` comes back."""
        return PREDICT not in self.silent


@dataclass
class Outcomes:
    """All ways.

    Attributes:
        machine: Where they were measured.
        ways: What each showed, by its name.
    """

    machine: dict[str, str] = field(default_factory=dict)
    ways: dict[str, Outcome] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return it as JSON, one line for each way."""
        ways = ",\n".join(f"{json.dumps(name)}: {json.dumps(_short(asdict(one)))}" for name, one in self.ways.items())
        return f'{{\n"machine": {json.dumps(self.machine)},\n"ways": {{\n{ways}\n}}\n}}\n'


def outcomes_from_json(text: str) -> Outcomes:
    """Return what `Outcomes.as_json` was made of."""
    plain = json.loads(text)
    return Outcomes(plain["machine"], {name: _outcome(one) for name, one in plain["ways"].items()})


def _outcome(plain: dict[str, Any]) -> Outcome:
    records = {
        "speeds": {word: Speed(**speed) for word, speed in plain["speeds"].items()},
        "memory": [Held(**held) for held in plain["memory"]],
        "limit": Limit(**plain["limit"]) if plain["limit"] else None,
        "crash": Crash(**plain["crash"]) if plain["crash"] else None,
    }
    return Outcome(**{**plain, **records})


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list) else value
