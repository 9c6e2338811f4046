"""Fixtures of the tests that load models: they run TensorFlow in the test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.models.loading_steps import equally_fast


@pytest.fixture(scope="session", autouse=True)
def _quiet_tensorflow() -> None:
    from predictd_server.tensorflow.runtime import RuntimeSettings, configure

    configure(RuntimeSettings())


@pytest.fixture(scope="session", autouse=True)
def _as_fast_as_one_another(_quiet_tensorflow: None) -> Iterator[None]:
    """Tests of which way is chosen bring their own figures."""
    with equally_fast():
        yield
