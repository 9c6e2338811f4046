"""Fixtures of the tests that load models: they run TensorFlow in the test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _quiet_tensorflow() -> None:
    from predictd_server.tensorflow.runtime import RuntimeSettings, configure

    configure(RuntimeSettings())


@pytest.fixture(scope="session", autouse=True)
def _as_fast_as_one_another(_quiet_tensorflow: None) -> Iterator[None]:
    """All ways to run a graph: the first that is right is chosen, whatever the clock says.

    Which one is clearly faster is another thing on a busy machine. Tests of that choice bring their own figures.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "predictd_server.tensorflow.selection.shortest_runs_s",
            lambda runners, inputs, budget_s: [1.0] * len(runners),
        )
        yield
