"""One daemon that serves the suite's models, and the same files loaded by Keras in the test process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import predictd
from tests.daemon_process import DaemonProcess, short_directory
from tests.parity.pair import Pair
from tests.parity.parity_models import PARITY_MODELS


@pytest.fixture(scope="session")
def parity_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a `.keras` file of each model."""
    from predictd_server.tensorflow.runtime import RuntimeSettings, configure

    configure(RuntimeSettings())
    import keras

    directory = tmp_path_factory.mktemp("parity")
    keras.utils.set_random_seed(11)
    with warnings.catch_warnings():
        # Names of tensors that differ from their keys are what some of the models are for.
        warnings.simplefilter("ignore")
        for name, (build, _) in PARITY_MODELS.items():
            build().save(directory / f"{name}.keras")
    return directory


@pytest.fixture(scope="session")
def parity_daemon(parity_files: Path) -> Iterator[DaemonProcess]:
    """The daemon that serves them."""
    with short_directory() as name:
        process = DaemonProcess(Path(name), str(parity_files)).start()
        yield process
        assert process.stop() == 0, process.log


@pytest.fixture(scope="session")
def pair(parity_files: Path, parity_daemon: DaemonProcess) -> Callable[[str], Pair]:
    """Return a model's pair by its name."""
    import keras

    made: dict[str, Pair] = {}

    def pair_of(name: str) -> Pair:
        if name not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                local = keras.saving.load_model(parity_files / f"{name}.keras")
            remote = predictd.RemoteModel(name, endpoint=parity_daemon.endpoint)
            made[name] = Pair(local, remote, PARITY_MODELS[name][1])
        return made[name]

    return pair_of
