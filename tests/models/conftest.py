"""Fixtures of the tests that load models: they run TensorFlow in the test process."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _quiet_tensorflow() -> None:
    from predictd_server.tensorflow.runtime import RuntimeSettings, configure

    configure(RuntimeSettings())
