"""The table of the ways, as docs/celery.md shows it.

Owns its words. It measures nothing.
"""

from __future__ import annotations

from benchmarks.report.figures import number
from benchmarks.ways_out.apps.tasks import CALL, PREDICT
from benchmarks.ways_out.outcome import ALONE_TASKS, SIZES, START, Crash, Limit, Outcome, Outcomes, Speed
from benchmarks.ways_out.ways import WAYS

COLUMNS = (
    "way",
    "does it answer?",
    "tasks/s",
    "p99, ms",
    "tasks/s with `model(x)`",
    f"MiB with {' / '.join(map(str, SIZES))}",
    "soft limit",
    "a crash of the model's process",
)
NONE = "-"


def table(outcomes: Outcomes) -> str:
    """Return the ways, a row for each that was measured, and how they were."""
    rows = [row(name, outcomes.ways[name]) for name in WAYS if name in outcomes.ways]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{_circumstances(outcomes)}"


def _circumstances(outcomes: Outcomes) -> str:
    told = [f"Measured on: {', '.join(f'{name} {value}' for name, value in outcomes.machine.items())}."]
    busy = [one.other_cores for one in outcomes.ways.values() if one.other_cores is not None]
    if busy:
        unknown = [name for name, one in outcomes.ways.items() if one.other_cores is None]
        but = f", but for {', '.join(unknown)}, where nobody looked" if unknown else ""
        told.append(f"Others used {min(busy):.1f} to {max(busy):.1f} cores meanwhile{but}.")
    lasting: dict[float, list[str]] = {}
    for name, one in outcomes.ways.items():
        lasting.setdefault(one.seconds, []).append(name)
    for seconds, names in sorted(lasting.items()):
        told.append(f"Loads of {seconds:g} s: {', '.join(names)}.")
    failed = [
        f"{name}, {trial} ({text})" for name, one in outcomes.ways.items() for trial, text in one.failures.items()
    ]
    if failed:
        told.append(f"Trials that failed: {'; '.join(failed)}.")
    missing = [name for name in WAYS if name not in outcomes.ways]
    if missing:
        told.append(f"Not measured there: {', '.join(WAYS[name].title for name in missing)}.")
    return " ".join(told)


def row(name: str, outcome: Outcome) -> tuple[str, ...]:
    """Return one way's cells."""
    if START in outcome.failures:
        told = f"the worker does not start: {outcome.failures[START]}"
        return (WAYS[name].title, told, *(NONE,) * (len(COLUMNS) - 2))
    predict, call = outcome.speeds.get(PREDICT), outcome.speeds.get(CALL)
    return (
        WAYS[name].title,
        _answer(outcome, predict),
        _rate(predict),
        f"{_ms(predict.alone_p99_ms)}{_fewer(predict)} / {_ms(predict.p99_ms)}" if predict else NONE,
        f"hangs ({outcome.silent[CALL]:g} s)" if CALL in outcome.silent else _rate(call),
        _memory(name, outcome),
        _limit(outcome.limit),
        _crash(name, outcome.crash),
    )


def _answer(outcome: Outcome, speed: Speed | None) -> str:
    killed = f"Celery killed children {outcome.starts_killed} times that were not up within 4 s"
    if not outcome.is_answering:
        waited = f"in {outcome.silent[PREDICT]:g} s"
        if outcome.starts_killed:
            return f"**no**, no answer {waited}: {killed}"
        return f"**no: it hangs**, no answer and no error {waited}"
    if speed is None:
        return NONE
    told = []
    if speed.failed:
        told.append(f"**{speed.failed} of {speed.asked} tasks failed** ({speed.error})")
    if speed.unanswered:
        told.append(f"**{speed.unanswered} of {speed.asked} had no answer**")
    if speed.workers_died:
        told.append("the worker died")
    if told and speed.alone_p99_ms:
        told.insert(0, "one task at a time; several at a time:")
    if speed.alone_failed:
        told.append(f"**{speed.alone_failed} of {speed.alone_asked} tasks failed** one at a time ({speed.error})")
    if speed.wrong:
        told.append(f"**{speed.wrong} answers were wrong**")
    if outcome.starts_killed:
        told.append(killed)
    return "yes" if not told else " ".join(told[:2]) + "".join(f", {one}" for one in told[2:])


def _rate(speed: Speed | None) -> str:
    return number(speed.per_second) if speed is not None and speed.per_second else NONE


def _ms(value: float) -> str:
    return number(value) if value else NONE


def _fewer(speed: Speed) -> str:
    answered = speed.alone_asked - speed.alone_failed
    return f" ({answered} tasks)" if 0 < answered < ALONE_TASKS else ""


def _memory(name: str, outcome: Outcome) -> str:
    cells: dict[int, str] = {}
    cells.update(dict.fromkeys(SIZES, NONE))
    for held in outcome.memory:
        wanted = WAYS[name].processes(held.slots)
        is_hanging = not outcome.is_answering and WAYS[name].is_loaded
        is_whole = is_hanging or held.processes == wanted
        cells[held.slots] = f"{held.mib:,.0f}" + ("" if is_whole else f" ({held.processes} of {wanted} up)")
    return " / ".join(cells.values())


def _limit(limit: Limit | None) -> str:
    if limit is None:
        return NONE
    if limit.by == "TimeLimitExceeded":
        return f"**not heard**; killed by the hard limit after {limit.after_s:.0f} s"
    if limit.by == "nobody":
        return f"**not heard**, nor is the hard limit: it ran its {limit.after_s:.0f} s"
    if limit.by == "SoftTimeLimitExceeded":
        return f"raised in the task after {limit.after_s:.1f} s"
    return limit.by or "**not heard**, and nothing else either"


def _crash(name: str, crash: Crash | None) -> str:
    if crash is None:
        return NONE
    told = f"{crash.finished} of {crash.others} other tasks finish"
    lost = crash.workers - crash.workers_left
    if lost:
        told += "; the worker is gone" if crash.workers == 1 else f"; {lost} of {crash.workers} workers is gone"
    if crash.back_s is None and not lost and crash.waited_s:
        told += f"; no new task is answered in {crash.waited_s:.0f} s"
    if crash.back_s is not None:
        told += f"; answers again after {crash.back_s:.1f} s"
        if WAYS[name].has_daemon:
            told += ", when the daemon is back"
    return told
