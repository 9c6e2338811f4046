"""A process that has imported what a daemon imports, TensorFlow above all, and done nothing else.

Owns the forks that become daemons: one for each line on its standard input, which says how; it answers each with the
process id. A daemon that is started in this way is the real one but for its first seconds, which the rows of the matrix
would wait for each time that they kill it. Main thread, and no other: see `main`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Fork a daemon for each line, until standard input ends."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # as the daemon itself does
    # Keras imports pandas where there is one, and that pyarrow, which starts threads; both do without.
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    import keras  # noqa: F401
    import tensorflow as tf  # noqa: F401

    import predictd_server.daemon
    import predictd_server.tensorflow.loading
    import predictd_server.trials.warmup  # noqa: F401
    from predictd.cli.commands import main as predictd

    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads: what others hold at a fork is held for ever in the child"
    # Whoever asked for a daemon ends it; this makes the kernel take its remains away.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            _settle(order["directory"], order["log"])
            predictd(order["arguments"], prog_name="predictd")
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _settle(directory: str, log: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(directory)
    for path, numbers, flags in (
        (os.devnull, (0,), os.O_RDONLY),
        (log, (1, 2), os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        descriptor = os.open(path, flags, 0o600)
        for number in numbers:
            os.dup2(descriptor, number)
        os.close(descriptor)


if __name__ == "__main__":
    main()
