"""Chunks scored in threads of this process, by a client: one machine, no broker.

Owns the threads, and that all chunks are the one model's. They read and parse too, while others wait for the daemon,
which merges what they ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import predictd
from predictd_celery.scoring.chunk_work import ChunkWork
from predictd_celery.scoring.questions import Question, check_model
from predictd_celery.scoring.threads import Threads
from predictd_proto.errors import ScoreError

#: So that Ctrl-C is heard: a thread's lock can't be interrupted on every system.
_LISTEN_S = 0.5
#: A chunk waits behind whatever else the daemon has to do, and nobody waits for one chunk.
TIMEOUT_MS = 300_000.0
#: Between two questions whether the model is still the same. To ask for each chunk took 0.8 to 1.4 ms, 1,024 rows of a
#: small model 2.3 ms.
CHECK_S = 0.5


class LocalLane:
    """Scores chunks here.

    Args:
        client: Asks the daemon; repeats what is worth repeating.
        threads: How many chunks at once.
        clock: Monotonic, in seconds.
    """

    #: What is asked has an end of its own.
    patience_s = float("inf")

    def __init__(self, client: predictd.Client, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._lock = threading.Lock()
        self._checked_s = float("-inf")
        #: Scored since the model was last known to be the run's.
        self._unsure: list[Path] = []
        self._is_abandoned = False
        self._threads = Threads(threads, "predictd-score")

    def question(self, model: str, version: int | str | None, signature: str | None, on_error: str) -> Question:
        """Return what is asked of a model for each chunk."""
        return Question.of(self._client.metadata(model, version), signature, on_error)

    def begin(self, work: ChunkWork) -> Future[None]:
        """Have a chunk scored."""
        return self._threads.submit(lambda: self._score(work))

    def wait(self, handles: list[Future[None]]) -> list[Future[None]]:
        """Wait until something has ended."""
        return list(wait(handles, _LISTEN_S, FIRST_COMPLETED).done)

    def finish(self, handle: Future[None]) -> None:
        """Raise what a chunk failed with; its answers are in its file."""
        handle.result()

    def settle(self, question: Question) -> None:
        """Check what is not yet known to be the run's model's; called when nothing is under way.

        Raises:
            ScoreError: The daemon has another model by now. What it may have answered is not kept.
        """
        self._check(question)

    def abandon(self) -> None:
        """Leave the threads to themselves; what they still bring is not kept."""
        with self._lock:
            self._is_abandoned = True
            self._forget_unsure()

    def close(self) -> None:
        """End the threads; they are waited for, unless they were abandoned."""
        self._threads.close(is_waiting=not self._is_abandoned)

    def _score(self, work: ChunkWork) -> None:
        asked = work.question
        with self._lock:
            is_due = self._clock() - self._checked_s >= CHECK_S
            if is_due:
                self._checked_s = self._clock()
        if is_due:
            self._check(asked)

        def ask(inputs: Mapping[str, NDArray[Any]]) -> Any:
            words: dict[str, Any] = {
                "version": asked.version,
                "signature": asked.signature,
                "cast": True,
                "timeout_ms": TIMEOUT_MS,
            }
            outputs = self._client.predict(asked.model, dict(inputs), **words).outputs
            if self._is_abandoned:
                message = "the run was given up; the same again scores this chunk"
                raise ScoreError(message)
            return outputs

        work.score(ask)
        with self._lock:
            self._unsure.append(Path(work.path))
            if self._is_abandoned:
                self._forget_unsure()

    def _check(self, asked: Question) -> None:
        with self._lock:
            before = set(self._unsure)
        try:
            check_model(asked, self._client.metadata(asked.model, asked.version))
        except ScoreError:
            with self._lock:
                self._forget_unsure()
            raise
        with self._lock:
            self._unsure = [path for path in self._unsure if path not in before]

    def _forget_unsure(self) -> None:
        for path in self._unsure:
            path.unlink(missing_ok=True)
        self._unsure = []
