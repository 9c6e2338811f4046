"""The loader thread: what a load gives or raises reaches who waits for it, and nothing of it is kept. No TensorFlow."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import pytest

from predictd_proto.metadata import ModelMetadata
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.loader_thread import LoaderThread
from predictd_server.models.registry import ServedModel
from predictd_server.models.settings import ModelSettings

FILE = ModelFile("m", Path("/m"), ModelFormat.KERAS, version=1)
SETTINGS = ModelSettings(name="m", path=Path("/m"))
PATIENCE_S = 60.0


class Held:
    """Stands for a model's memory."""


def test_loads_run_on_one_thread_and_their_end_is_told() -> None:
    threads: list[threading.Thread] = []
    ended = threading.Semaphore(0)

    def load(file: ModelFile, settings: ModelSettings) -> ServedModel:
        threads.append(threading.current_thread())
        return ServedModel(ModelMetadata(name=file.name, version=file.version, state="ready"))

    loader = LoaderThread(load, on_done=ended.release)
    loader.start()
    for _ in range(3):
        assert loader.begin(FILE, SETTINGS).result(PATIENCE_S).metadata.version == 1
        assert ended.acquire(timeout=PATIENCE_S)
    assert {thread.name for thread in threads} == {"predictd-loader"}
    assert len(set(threads)) == 1


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("a user's module"), KeyboardInterrupt()])
def test_what_a_load_raises_ends_no_thread_and_keeps_no_memory(error: BaseException) -> None:
    held: list[weakref.ref[Held]] = []
    ended = threading.Semaphore(0)

    def load(file: ModelFile, settings: ModelSettings) -> ServedModel:
        model = Held()
        held.append(weakref.ref(model))
        raise type(error)(*error.args)

    loader = LoaderThread(load, on_done=ended.release)
    loader.start()
    for _ in range(2):
        with pytest.raises(type(error)):
            loader.begin(FILE, SETTINGS).result(PATIENCE_S)
        assert ended.acquire(timeout=PATIENCE_S)
    gc.collect()
    assert [reference() for reference in held] == [None, None]
