"""Fixtures for pytest: `pytest_plugins = ["predictd.testing.pytest_plugin"]` in your top `conftest.py`.

Owns `predictd_server`, `predictd_in_process`, `predictd_models`, `make_predictd_server` and the marker
`predictd_models`. The only module here that imports pytest. Every fixture ends with its test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from predictd.testing.daemon import FakeServer
from predictd.testing.homes import new_endpoint
from predictd.testing.models import FakeModel
from predictd.testing.serving import fake_server, in_process

MARKER = "predictd_models"


class MakeServer(Protocol):
    """Starts one more fake, at an endpoint of its own."""

    def __call__(self, *models: FakeModel, endpoint: str | None = None) -> FakeServer:
        """Return the fake; it ends with the test."""
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", f"{MARKER}(*models): what the predictd fixtures of this test serve")


@pytest.fixture
def predictd_models(request: pytest.FixtureRequest) -> list[FakeModel]:
    """What the fakes serve: the marker's models, or none. Override it in a conftest for models of your own.

    Examples:
        >>> @pytest.fixture
        ... def predictd_models():
        ...     return [FakeModel("digits", inputs=("float32", (None, 64)), outputs=("float32", (None, 10)))]
    """
    return marked_models(request)


@pytest.fixture
def predictd_server(request: pytest.FixtureRequest, predictd_models: list[FakeModel]) -> Iterator[FakeServer]:
    """A fake on real sockets: clients of this process and of those that it starts find it."""
    with fake_server(*(marked_models(request) or predictd_models)) as server:
        yield server


@pytest.fixture
def predictd_in_process(request: pytest.FixtureRequest, predictd_models: list[FakeModel]) -> Iterator[FakeServer]:
    """A fake without sockets and threads: every client of this process is answered by it."""
    with in_process(*(marked_models(request) or predictd_models)) as server:
        yield server


@pytest.fixture
def make_predictd_server() -> Iterator[MakeServer]:
    """Start further fakes, each at an endpoint of its own, such as for failover."""
    with ExitStack() as stack:

        def make(*models: FakeModel, endpoint: str | None = None) -> FakeServer:
            return stack.enter_context(fake_server(*models, endpoint=endpoint or new_endpoint()))

        yield make


def marked_models(request: pytest.FixtureRequest) -> list[FakeModel]:
    """Return the models of the nearest `predictd_models` marker."""
    marker = request.node.get_closest_marker(MARKER)
    return list(marker.args) if marker is not None else []
