"""Models for the fakes of these tests, and both ways to serve them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, FakeServer, fake_server, in_process
from predictd.testing.blocks import Block

Serve = Callable[..., Block]
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def double(x: Any) -> Any:
    return x * 2


def doubling(**fields: Any) -> FakeModel:
    defaults: dict[str, Any] = {"inputs": {"x": ("float32", (None, 4))}, "outputs": ("float32", (None, 4))}
    return FakeModel("double", **{"answer": double, **defaults, **fields})


@pytest.fixture(params=[fake_server, in_process], ids=["sockets", "in process"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """The two context managers."""
    way: Serve = request.param
    return way


@pytest.fixture
def server(serve: Serve) -> Iterator[FakeServer]:
    with serve(doubling()) as running:
        yield running


@pytest.fixture
def client(server: FakeServer) -> Iterator[predictd.Client]:
    with predictd.Client(timeout_ms=30_000, retries=None) as made:
        yield made
