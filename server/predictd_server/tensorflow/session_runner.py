"""Running a signature through a session of its own.

Owns a session and the one callable made from it. It doesn't build graphs. Any thread: a session's runs may overlap.

Measured on 2 cores for a 64-128-10 MLP, one row: a callable made from options 10 microseconds, `Session.run` and the
public `make_callable` (which calls it) 95, a concrete function 170. Running in the caller's thread saves a hand-over to
TensorFlow's pool and back: 4 against 20 microseconds for a single addition. The executor for a single thread keeps no
books on what may run beside what: 2 to 5 % of the time of any of the models tried, from an MLP to a MobileNetV2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from predictd_server.runner import Arrays

#: `RunOptions.inter_op_thread_pool`: the caller's own thread, or the session's pool.
CALLERS_THREAD = -1
SESSION_POOL = 0

_SERIAL = "SINGLE_THREADED_EXECUTOR"


class SessionRunner:
    """Runs a session's callable.

    Args:
        kind: "session", "session-v1" or "session-xla".
        session: Owned: closed with the runner.
        feeds: Names of the input tensors, in order.
        fetches: Names of the output tensors, in order.
        thread_pool: `CALLERS_THREAD` or `SESSION_POOL`.
    """

    def __init__(
        self, kind: str, session: Any, feeds: Sequence[str], fetches: Sequence[str], thread_pool: int = CALLERS_THREAD
    ) -> None:
        self.kind = kind
        self.thread_pool = thread_pool
        self._session = session
        self._feeds = list(feeds)
        self._fetches = list(fetches)
        self._call = _callable(session, self._feeds, self._fetches, thread_pool)

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see `Runner.run`."""
        return [_sealed(output) for output in self._call(*inputs)]

    @property
    def session(self) -> Any:
        """The session; None once it is closed."""
        return self._session

    def on_pool(self, thread_pool: int) -> SessionRunner:
        """Return another runner of the same session. The two share it: close only one of them."""
        return SessionRunner(self.kind, self._session, self._feeds, self._fetches, thread_pool)

    def drop(self) -> None:
        """Release the callable and leave the session open."""
        self._call = _released

    def close(self) -> None:
        """Release the session and all of its memory."""
        self.drop()
        if self._session is not None:
            self._session.close()
            # The graph holds a copy of every constant, and lives as long as the session object.
            self._session = None
            # Weights that the session shared with Python are let go of at TensorFlow's next call, whichever that is.
            tf.constant(0)


def session_config(*, is_serial: bool = False) -> Any:
    """Return the configuration of a session whose graph never changes.

    Args:
        is_serial: Run one operation after the other. A graph with lowered loops or branches can't be run like that.
    """
    config = config_pb2.ConfigProto(allow_soft_placement=True)
    if is_serial:
        config.experimental.executor_type = _SERIAL
    config.inter_op_parallelism_threads = tf.config.threading.get_inter_op_parallelism_threads()
    config.intra_op_parallelism_threads = tf.config.threading.get_intra_op_parallelism_threads()
    config.gpu_options.allow_growth = any(
        tf.config.experimental.get_memory_growth(device) for device in tf.config.list_physical_devices("GPU")
    )
    # Each saves one copy of the constants: 196 of 790 MB for a model of 196 MB.
    config.experimental.optimize_for_static_graph = True
    config.experimental.disable_output_partition_graphs = True
    return config


def _callable(session: Any, feeds: list[str], fetches: list[str], thread_pool: int) -> Callable[..., Sequence[Any]]:
    options = config_pb2.CallableOptions()
    options.feed.extend(feeds)
    options.fetch.extend(fetches)
    options.run_options.inter_op_thread_pool = thread_pool
    make = getattr(session, "_make_callable_from_options", None)
    if make is not None:
        made: Callable[..., Sequence[Any]] = make(options)
        return made
    run_options = config_pb2.RunOptions(inter_op_thread_pool=thread_pool)

    def call(*arrays: Any) -> Sequence[Any]:
        answers: Sequence[Any] = session.run(fetches, dict(zip(feeds, arrays, strict=True)), options=run_options)
        return answers

    return call


def _sealed(output: Any) -> Any:
    """Outputs are views of TensorFlow's memory; one that is a constant of the graph must not be written to."""
    if not isinstance(output, np.ndarray):
        return np.asarray(output)
    output.flags.writeable = False
    return output


def _released(*arrays: Any) -> Sequence[Any]:
    text = f"the runner is closed, and can't run {len(arrays)} inputs"
    raise RuntimeError(text)
