"""Measures what a chunk costs: a broker and a claim store, a worker, a run, and a fake daemon.

Both are a Redis by tcp with an append-only file. Owns starting them and taking their figures: Redis' own counters
(INFO), and the processor time of each process. Main thread.
"""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
from numpy.typing import NDArray

from benchmarks.processes.cpu import cpu_s
from benchmarks.processes.daemon import clean_environment
from benchmarks.processes.running import Conversation, conversation, running
from benchmarks.report import page
from benchmarks.report.machine import machine
from benchmarks.scale_out import models
from benchmarks.scale_out.costs import CLAIMS, MESSAGES, SHARED, ChunkCosts, Costs, HostRate
from predictd.testing import FakeModel, FakeProcess
from predictd_celery.scoring.run import DEFAULT_CHUNK_ROWS
from scripts.redis_server import find_redis_server, keeping_arguments

CHECKOUT = Path(__file__).parents[2]
#: Of each model: some seconds' worth where rows travel in messages.
CHUNKS = {models.ROWS.name: 60, models.IMAGES.name: 12}
#: So often each is measured: the spread tells what a single turn is worth.
REPEATS = 5
IDLE_S = 12.0
_START_S = 60.0
_GETS, _AT_ONCE = 200_000, 10
_KEY = "predictd-bench"

#: Commands, seconds of its processor, bytes in and out.
_Counters = NDArray[np.float64]


def measured() -> Costs:
    """Return what everything costs on this machine."""
    with tempfile.TemporaryDirectory(prefix="pdb-", dir="/tmp") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        broker = stack.enter_context(_redis(directory / "broker"))
        store = stack.enter_context(_redis(directory / "claims"))
        settings = {"PREDICTD_BROKER_URL": broker.url, "PREDICTD_HEALTH_INTERVAL_S": "0"}
        fake = stack.enter_context(FakeProcess(models.ROWS, models.IMAGES, endpoint=f"ipc://{directory}/p.sock"))
        settings["PREDICTD_ENDPOINT"] = fake.endpoint
        claiming = {"PREDICTD_CLAIM_STORE": store.url, "PREDICTD_CLAIM_CHECK_BYTES": "65536"}
        chunks = []
        idle = 0.0, 0.0
        for way, more in ((MESSAGES, {}), (CLAIMS, claiming), (SHARED, {})):
            environment = clean_environment(**settings, **more)
            with _worker(directory, environment) as worker:
                talk = conversation("benchmarks.scale_out.run_process", directory, env=environment)
                with talk as run:
                    for model in (models.ROWS, models.IMAGES):
                        asked = _asked(directory, model, is_shared=way == SHARED)
                        # Once uncounted: children and connections come with the first chunks.
                        _, *turns = (_turn(run, asked, broker, store, worker) for _ in range(1 + REPEATS))
                        chunks.append(_costs(way, asked, turns))
                if way == SHARED:
                    idle = _idle(broker)
        alone = _idle(broker)
        return Costs(
            chunks=tuple(chunks),
            hosts=_host_rates(),
            cores=psutil.cpu_count() or 1,
            idle_commands_per_s=round(idle[0] - alone[0], 2),
            # Redis looks after itself ten times a second, whoever is there.
            idle_cpu_ms_per_s=round(max(0.0, idle[1] - alone[1]), 3),
            gets_per_cpu_s=_gets_per_cpu_s(broker),
            machine=_machine_text(),
        )


def _host_rates() -> tuple[HostRate, ...]:
    """Return what docs/performance.json has of one host."""
    sections = page.stored().sections
    [rows] = [figure.beside for figure in sections["F"].found.figures if "ours" in figure.beside]
    [images] = [load for load in sections["D"].found.loads if (load.callers, load.way) == ("64", "Client.predict")]
    found = re.search(r"ours ([\d,]+)/s", rows)
    assert found is not None
    return (
        HostRate("rows of 64 numbers, a tiny MLP", 64 * 4, float(found[1].replace(",", ""))),
        HostRate("96x96 images, MobileNetV2", 96 * 96 * 3 * 4, round(statistics.median(images.per_second), 1)),
    )


class _Redis:
    """A Redis server, and its counters.

    Attributes:
        url: Where it listens.
        pid: Its process id.
    """

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid
        self.client: Any = redis.Redis.from_url(url)

    def counters(self) -> _Counters:
        """Return what it has counted so far."""
        found: dict[str, Any] = self.client.info("stats")
        byte_count = found["total_net_input_bytes"] + found["total_net_output_bytes"]
        return np.array([found["total_commands_processed"], cpu_s(self.pid), byte_count], np.float64)


def _turn(run: Conversation, asked: dict[str, Any], broker: _Redis, store: _Redis, worker: int) -> dict[str, float]:
    """Return what a chunk of one turn cost, by the names of `ChunkCosts`."""
    # New rows each time: a claim store keeps the same ones once.
    rows = CHUNKS[asked["model"]] * asked["chunk_rows"]
    np.save(asked["path"], np.random.default_rng().random((rows, *asked["shape"]), np.float32))
    before = broker.counters(), store.counters(), _family_s(worker)
    told = run.ask(asked)
    after = broker.counters(), store.counters(), _family_s(worker)
    chunks = told["chunks"]
    commands, broker_s, broker_bytes = (after[0] - before[0]) / chunks
    _, store_s, store_bytes = (after[1] - before[1]) / chunks
    return {
        "commands": round(commands, 1),
        "broker_cpu_ms": round(broker_s * 1000, 3),
        "broker_bytes": round(broker_bytes),
        "store_cpu_ms": round(store_s * 1000, 3),
        "store_bytes": round(store_bytes),
        "run_cpu_ms": round(told["cpu_s"] / chunks * 1000, 3),
        "worker_cpu_ms": round((after[2] - before[2]) / chunks * 1000, 3),
    }


def _family_s(pid: int) -> float:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(cpu_s(member.pid) for member in family)


def _costs(way: str, asked: dict[str, Any], turns: list[dict[str, float]]) -> ChunkCosts:
    rounds = {name: tuple(turn[name] for turn in turns) for name in turns[0]}
    if way != CLAIMS:
        # It looks after itself meanwhile.
        rounds |= dict.fromkeys(("store_cpu_ms", "store_bytes"), (0.0,) * len(turns))
    return ChunkCosts(way=way, rows=asked["chunk_rows"], row_bytes=asked["row_bytes"], **rounds)


def _asked(directory: Path, model: FakeModel, *, is_shared: bool) -> dict[str, Any]:
    spec = model.metadata.signatures[0].inputs[0]
    shape = [axis or 1 for axis in spec.shape[1:]]
    row_bytes = 4 * int(np.prod(shape))
    chunk_rows = min(DEFAULT_CHUNK_ROWS, (4 << 20) // row_bytes)
    words = {"model": model.name, "path": str(directory / f"{model.name}.npy"), "is_shared": is_shared}
    return {**words, "shape": shape, "chunk_rows": chunk_rows, "row_bytes": row_bytes}


def _idle(broker: _Redis) -> tuple[float, float]:
    """Return commands, and milliseconds of the broker's processor, in a second in which nothing is to do."""
    before = broker.counters()
    time.sleep(IDLE_S)
    commands, used_s, _ = (broker.counters() - before) / IDLE_S
    return commands, used_s * 1000


def _gets_per_cpu_s(broker: _Redis) -> float:
    broker.client.set(_KEY, bytes(100))
    before_s = cpu_s(broker.pid)
    with broker.client.pipeline(transaction=False) as asked:
        for _ in range(_GETS // _AT_ONCE):
            for _ in range(_AT_ONCE):
                asked.get(_KEY)
            asked.execute()
    return round(_GETS / (cpu_s(broker.pid) - before_s))


@contextlib.contextmanager
def _redis(directory: Path) -> Iterator[_Redis]:
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(find_redis_server()), "--bind", "127.0.0.1", "--port", str(port), *keeping_arguments(directory)]
    with running(command, stdout=subprocess.DEVNULL) as process:
        url = f"redis://127.0.0.1:{port}/0"
        _wait(lambda: _answers(url), "Redis")
        yield _Redis(url, process.pid)


def _answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.ConnectionError:
        return False


@contextlib.contextmanager
def _worker(directory: Path, environment: dict[str, str]) -> Iterator[int]:
    log_path = directory / "worker.log"
    words = ["-A", "predictd_celery", "worker", "--concurrency", "2", "--loglevel", "info"]
    with log_path.open("w") as log:
        options: dict[str, Any] = {"stdout": log, "stderr": log, "env": environment, "cwd": CHECKOUT}
        with running([sys.executable, "-m", "celery", *words], **options) as process:
            _wait(lambda: " ready." in log_path.read_text(errors="replace"), "the worker")
            yield process.pid


def _wait(is_so: Any, what: str) -> None:
    end_s = time.monotonic() + _START_S
    while not is_so():
        if time.monotonic() > end_s:
            message = f"{what} did not start within {_START_S:g} s"
            raise RuntimeError(message)
        time.sleep(0.05)


def _machine_text() -> str:
    return ", ".join(f"{name} {value}" for name, value in machine().items() if name in {"processor", "system"})
