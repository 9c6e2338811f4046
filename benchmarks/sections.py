"""The sections of the benchmark: each measures its figures and the limits they are compared with side by side.

Owns what is compared with what. Rounds are interleaved (limit, ours, limit, ours ...), so that a machine that gets
slower or faster meanwhile does so for both; a ratio is taken within one round.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.callers import Load, measure
from benchmarks.celery_children import idle_child_mib
from benchmarks.client_section import client
from benchmarks.figures import Figure
from benchmarks.imports import import_ms
from benchmarks.reload_section import reload
from benchmarks.servers import daemon, echo_server, in_process

#: Callers that are compared: 2 processes with 32 threads each.
CROWD = {"processes": 2, "threads": 32}
LONE = {"processes": 1, "threads": 1}


def _median(values: list[float]) -> float:
    return statistics.median(values)


def speed(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """One row through a 64-128-10 MLP, over ipc: one caller, then 64."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pdb-", dir="/tmp")))
        model = directory / "mlp.keras"
        say("training nothing: making the model")
        subprocess.run([sys.executable, "-m", "benchmarks.make_model", model], check=True, stderr=subprocess.DEVNULL)
        echo = stack.enter_context(echo_server(directory))
        say("starting the daemon and the in-process model")
        served = stack.enter_context(daemon(directory, model))
        local = stack.enter_context(in_process(model))
        concrete: list[tuple[float, float]] = []
        loads: dict[str, list[Load]] = {name: [] for name in ("echo 1", "ours 1", "echo 64", "ours 64", "wire 64")}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            concrete.append(local.measure(seconds))
            loads["echo 1"].append(measure("bare", echo, **LONE, seconds=seconds))
            loads["ours 1"].append(measure("client", served, **LONE, seconds=seconds))
            loads["echo 64"].append(measure("bare", echo, **CROWD, seconds=seconds))
            loads["ours 64"].append(measure("client", served, **CROWD, seconds=seconds))
            loads["wire 64"].append(measure("bare", served, **CROWD, seconds=seconds))
        return _speed_figures(concrete, loads, local.predict_p50_us)


def _speed_figures(
    concrete: list[tuple[float, float]], loads: dict[str, list[Load]], predict_p50_us: float
) -> list[Figure]:
    both = list(zip(concrete, loads["echo 1"], loads["ours 1"], strict=True))
    crowd = list(zip(concrete, loads["echo 64"], loads["ours 64"], loads["wire 64"], strict=True))
    return [
        Figure(
            "1 caller: p50 / (in-process concrete function p50 + bare echo p50)",
            tuple(ours.p50_us / (alone[0] + echo.p50_us) for alone, echo, ours in both),
            goal="<= 1",
            beside=(
                f"ours {_median([ours.p50_us for _, _, ours in both]):.0f} us, concrete "
                f"{_median([alone[0] for alone, _, _ in both]):.0f} us, echo "
                f"{_median([echo.p50_us for _, echo, _ in both]):.0f} us"
            ),
        ),
        Figure(
            "1 caller: local model.predict p50 / ours p50",
            tuple(predict_p50_us / ours.p50_us for _, _, ours in both),
            beside=f"model.predict {predict_p50_us / 1000:.1f} ms",
        ),
        Figure(
            "64 callers in 2 processes: throughput / bare echo's",
            tuple(ours.per_second / echo.per_second for _, echo, ours, _ in crowd),
            goal=">= 0.7",
            beside=(
                f"ours {_median([ours.per_second for *_, ours, _ in crowd]):,.0f}/s, echo "
                f"{_median([echo.per_second for _, echo, _, _ in crowd]):,.0f}/s"
            ),
        ),
        Figure(
            "the same callers without a client's work (ready-made frames): throughput / bare echo's",
            tuple(wire.per_second / echo.per_second for _, echo, _, wire in crowd),
            beside=f"server alone {_median([wire.per_second for *_, wire in crowd]):,.0f}/s",
        ),
        Figure(
            "64 callers in 2 processes: throughput / in-process batch-1 rate",
            tuple(ours.per_second / alone[1] for alone, _, ours, _ in crowd),
            goal=">= 3",
            beside=f"concrete function {_median([alone[1] for alone, *_ in crowd]):,.0f}/s",
        ),
        Figure(
            "64 callers: p99",
            tuple(ours.p99_us / 1000 for _, _, ours, _ in crowd),
            unit="ms",
            beside=f"echo's {_median([echo.p99_us / 1000 for _, echo, _, _ in crowd]):.2f} ms",
        ),
    ]


def imports(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """What `import predictd` costs."""
    del seconds
    say("importing")
    pairs = [(import_ms("numpy, zmq"), import_ms("predictd")) for _ in range(3 * rounds)]
    floor, ours = (_median([pair[side] for pair in pairs]) for side in (0, 1))
    return [
        Figure(
            "import predictd / import numpy, zmq",
            tuple(mine / bare for bare, mine in pairs),
            goal="<= 1.5",
            beside=f"predictd {ours:.0f} ms, numpy and zmq {floor:.0f} ms",
        )
    ]


def memory(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """What one idle prefork child costs more than a bare Celery child."""
    del seconds
    say("starting prefork workers")
    pairs = [(idle_child_mib("bare"), idle_child_mib("predictd")) for _ in range(min(rounds, 3))]
    bare, ours = (_median([pair[side] for pair in pairs]) for side in (0, 1))
    return [
        Figure(
            "idle prefork child: memory above a bare Celery child's",
            tuple(mine - floor for floor, mine in pairs),
            unit="MiB",
            goal="<= 12",
            beside=f"ours {ours:.1f} MiB, bare {bare:.1f} MiB (of its own and its share of the shared)",
        )
    ]


SECTIONS: dict[str, Callable[[int, float, Callable[[str], None]], list[Figure]]] = {
    "speed": speed,
    "client": client,
    "imports": imports,
    "memory": memory,
    "reload": reload,
}
