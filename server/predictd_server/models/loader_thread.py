"""The loader thread: reads, traces and warms versions, one after the other, while the models thread goes on.

Owns the thread, and how far it steps back for those who are served. It decides and publishes nothing. Libraries keep
state for the thread that loads, so it is always the same one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from predictd_server.models.files import ModelFile
from predictd_server.models.low_priority import step_back, yielding
from predictd_server.models.registry import ServedModel
from predictd_server.models.settings import ModelSettings

_Job = tuple[ModelFile, ModelSettings, "Future[ServedModel]"]


class LoaderThread:
    """The thread that loads.

    Args:
        load: Loads a version; may raise anything.
        on_done: Called on this thread when a load has ended.
    """

    def __init__(self, load: Callable[[ModelFile, ModelSettings], ServedModel], on_done: Callable[[], None]) -> None:
        self._load = load
        self._on_done = on_done
        self._has_stepped_back = False
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="predictd-loader", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process: nobody can break off a load."""
        self._thread.start()

    def begin(self, file: ModelFile, settings: ModelSettings) -> Future[ServedModel]:
        """Let a version be loaded; return what will be the loaded one, or what the load raised."""
        future = Future[ServedModel]()
        self._jobs.put((file, settings, future))
        return future

    def _run(self) -> None:
        while True:
            # No name is bound to a job here: what was loaded would stay in memory until the next one comes.
            self._work_on(*self._jobs.get())
            self._on_done()

    def _work_on(self, file: ModelFile, settings: ModelSettings, future: Future[ServedModel]) -> None:
        try:
            with yielding():
                served = self._load(file, settings)
            if not self._has_stepped_back:
                self._has_stepped_back = True
                step_back()
        except BaseException as error:  # the caller's to judge: code of a model may raise anything
            future.set_exception(error)
        else:
            future.set_result(served)
