"""What JAX and PyTorch can't serve is told so, and what needs settings is served with them: a daemon on each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import predictd
from predictd_proto.metadata import ModelMetadata
from tests.backends.conftest import BACKENDS
from tests.conftest import CHECKOUT
from tests.daemon_process import DaemonProcess, short_directory

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Mixed:
    """A daemon on one backend with models that it serves and models that it can't.

    Attributes:
        backend: "jax" or "torch".
        daemon: The daemon.
        models: What it says of each.
    """

    backend: str
    daemon: DaemonProcess
    models: dict[str, ModelMetadata]


@pytest.fixture(scope="module", params=BACKENDS)
def mixed(request: pytest.FixtureRequest, zoo: Path) -> Iterator[Mixed]:
    tables = "".join(
        f'[models.{name}]\npath = "{zoo}/others/{name}.keras"\nmodules = ["tests.backends.custom_layers"]\n'
        for name in ("random", "together", "stateful")
    )
    refused = {path.stem: path for path in (zoo / "refused").iterdir()}
    tables += "".join(f'[models.{name}]\npath = "{path}"\n' for name, path in refused.items())
    with short_directory() as name:
        config = Path(name) / "predictd.toml"
        config.write_text(f'backend = "{request.param}"\nintra_op_threads = 1\nmax_batch_size = 4\n{tables}')
        daemon = DaemonProcess(Path(name), "--config", str(config), PYTHONPATH=str(CHECKOUT)).start()
        with daemon.client() as client:
            yield Mixed(request.param, daemon, {model.name: model for model in client.models()})
        assert daemon.stop() == 0, daemon.log


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("strings", "takes strings"),
        ("text", "TextVectorization"),
        ("graph", "saved_model"),
        ("lambda", "Lambda"),
    ],
)
def test_what_can_not_be_served_says_why(mixed: Mixed, name: str, expected: str) -> None:
    model = mixed.models[name]
    assert model.state == "failed"
    assert expected in model.error
    if name in {"strings", "text", "graph"}:
        assert "backend = 'tensorflow'" in model.error


def test_no_state_goes_from_one_caller_to_the_next(mixed: Mixed) -> None:
    model = mixed.models["stateful"]
    if mixed.backend == "torch":
        assert model.state == "failed"
        assert "keeps a state between calls" in model.error
        return
    # Keras on JAX forgets it, here and in its own predict.
    assert any("keeps a state" in note for note in model.notes)
    steps = np.ones((2, 5, 4), np.float32)
    remote = predictd.RemoteModel("stateful", endpoint=mixed.daemon.endpoint)
    np.testing.assert_array_equal(remote.predict(steps, verbose=0), remote.predict(steps, verbose=0))


def test_random_answers_are_new_each_time(mixed: Mixed) -> None:
    model = predictd.RemoteModel("random", endpoint=mixed.daemon.endpoint)
    rows = np.ones((4, 8), np.float32)
    answers = [model.predict(rows, verbose=0) for _ in range(3)]
    assert not any(np.array_equal(answers[0], other) for other in answers[1:])
    assert any("random" in note for note in mixed.models["random"].notes)


def test_rows_that_depend_on_each_other_are_never_merged(mixed: Mixed) -> None:
    assert mixed.models["together"].batch_sizes == ()
    rows = np.arange(24, dtype=np.float32).reshape(3, 8)
    answer = predictd.RemoteModel("together", endpoint=mixed.daemon.endpoint).predict(rows, verbose=0)
    np.testing.assert_allclose(answer, rows - rows.mean(axis=0), atol=1e-5)


def test_threads_are_as_many_as_were_set(mixed: Mixed) -> None:
    assert mixed.daemon.status().runtime["intra_op_threads"] == 1
    tasks = Path(f"/proc/{mixed.daemon.pid}/task").iterdir()
    names = [(task / "comm").read_text(encoding="utf-8").strip() for task in tasks]
    assert names.count("tf_XLAEigen") == (1 if mixed.backend == "jax" else 0), names
