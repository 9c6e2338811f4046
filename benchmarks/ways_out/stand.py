"""One way's processes: a Redis, its workers, the daemon where it has one.

Owns starting them, their memory, and their end: each by its own process id, killed, since a worker with a child that
hangs never finishes a shutdown. Main thread.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from celery import Celery

from benchmarks.loads import task_crowd
from benchmarks.processes.celery_worker import CHECKOUT, redis_server
from benchmarks.processes.daemon import Daemon, clean_environment, daemon
from benchmarks.processes.memory import MIB, memory_of
from benchmarks.processes.running import running
from benchmarks.report.machine import OtherWork
from benchmarks.ways_out.ways import Way

#: With a model in the parent a worker is ready when TensorFlow is imported; eight of them at once on two cores.
READY_TIMEOUT_S = 180.0
END_TIMEOUT_S = 10.0


class Stand:
    """The processes of one way.

    Attributes:
        way: Which.
        slots: How many tasks it runs at a time.
        app: Enqueues for it.
        served: The daemon; None where there is none.
        directory: For files of its own.
    """

    def __init__(self, way: Way, slots: int, directory: Path, broker_url: str, model: Path) -> None:
        self.way = way
        self.slots = slots
        self.app = Celery("asking", broker=broker_url, backend=broker_url, set_as_current=False)
        self.served: Daemon | None = None
        self.directory = directory
        self._broker_url = broker_url
        self._model = model
        self._stack = contextlib.ExitStack()
        self._workers: dict[int, subprocess.Popen[str]] = {}
        self._logs: list[tuple[int, Path]] = []

    def start(self) -> None:
        """Start everything, and wait until it is ready.

        Raises:
            RuntimeError: It did not get ready; the text has the log.
        """
        if self.way.has_daemon:
            self.start_daemon()
        for number in range(self.slots if self.way.is_one_each else 1):
            self._start_worker(number)
        self._wait_until_ready()

    def revive(self) -> None:
        """Start those workers again that have ended, as their supervisor would; nothing is left in the queue."""
        ended = [number for number, process in self._workers.items() if process.poll() is not None]
        if ended:
            self.app.control.purge()
            for number in ended:
                self._start_worker(number)
            self._wait_until_ready()

    def start_daemon(self) -> None:
        """Start the daemon; once more where it has ended."""
        self.served = self._stack.enter_context(daemon(self.directory, [self._model]))

    def end(self) -> float:
        """End all of it; return the processor time of the workers' children, which nobody has waited for."""
        try:
            return sum(_kill_family(process) for process in self._workers.values())
        finally:
            task_crowd.close(self.app)
            self._stack.close()

    @property
    def log(self) -> str:
        """What the workers have said."""
        return "".join(path.read_text(errors="replace") for _, path in self._logs)

    @property
    def workers(self) -> int:
        """How many workers were started."""
        return len(self._workers)

    def workers_alive(self) -> int:
        """Return how many workers have not ended."""
        return sum(process.poll() is None for process in self._workers.values())

    def memory_mib(self) -> float:
        """Return what workers, their children and the daemon take, each shared page counted once."""
        pids = [member.pid for process in self._workers.values() for member in _family(process.pid)]
        if self.served is not None:
            pids.append(self.served.pid)
        return sum(_pss_bytes(pid) for pid in pids) / MIB

    def _start_worker(self, number: int) -> None:
        way = self.way
        options = ["worker", "--pool", way.pool, "--loglevel", "info", "--hostname", f"{number}@ways"]
        if way.is_one_each:
            # Else a busy one keeps tasks that an idle one beside it could run.
            options += ["--concurrency", "1", "--prefetch-multiplier", "1"]
        else:
            options += ["--concurrency", str(self.slots)]
        quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
        app = f"benchmarks.ways_out.apps.{way.app}"
        environment = clean_environment(
            WAYS_BROKER_URL=self._broker_url,
            WAYS_MODEL=str(self._model),
            # Notes about instruction sets and missing GPUs by the dozen.
            TF_CPP_MIN_LOG_LEVEL="3",
        )
        if self.served is not None:
            environment["PREDICTD_ENDPOINT"] = self.served.endpoint
        log_path = self.directory / f"worker-{len(self._logs)}.log"
        self._logs.append((number, log_path))
        log = self._stack.enter_context(log_path.open("w"))
        command = [sys.executable, "-m", "celery", "-A", app, *options, *quiet]
        self._workers[number] = self._stack.enter_context(
            running(command, stdout=log, stderr=log, env=environment, cwd=CHECKOUT)
        )

    def _wait_until_ready(self) -> None:
        end_s = time.monotonic() + READY_TIMEOUT_S
        for number, path in self._logs:
            while " ready." not in path.read_text(errors="replace"):
                if self._workers[number].poll() is not None or time.monotonic() > end_s:
                    text = f"{self.way.title}: the worker did not become ready:\n{path.read_text(errors='replace')}"
                    raise RuntimeError(text)
                time.sleep(0.05)


@contextlib.contextmanager
def standing(way: Way, slots: int, model: Path, others: OtherWork) -> Iterator[Stand]:
    """Run a way for as long as the block lasts; what it used is not others' work."""
    # Processes are made to crash here: no core files, of what is started from now on.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # Directly in /tmp: a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="pdw-", dir="/tmp") as name, redis_server(Path(name)) as broker_url:
        stand = Stand(way, slots, Path(name), broker_url, model)
        try:
            stand.start()
            yield stand
        finally:
            others.leave_out(stand.end())


def _pss_bytes(pid: int) -> int:
    # Celery replaces children meanwhile.
    try:
        return memory_of([pid]).pss_bytes
    except psutil.NoSuchProcess:
        return 0


def _family(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill_family(process: subprocess.Popen[str]) -> float:
    """Kill a worker with its children, stopped first, since it would replace them; return the children's time."""
    if process.poll() is not None:
        return 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(process.pid).suspend()
    family = _family(process.pid)
    # The worker's own time is told to whoever waits for it; stopped, it waits for no child.
    children_s = sum(_cpu_s(member) for member in family[1:])
    for member in family:
        # psutil compares creation times: a process id that went to somebody else is left alone.
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_TIMEOUT_S)
    psutil.wait_procs(family[1:], END_TIMEOUT_S)
    return children_s


def _cpu_s(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system + used.children_user + used.children_system)
