"""A fork waits for our modules that another thread imports, whatever else is imported meanwhile."""

from __future__ import annotations

import types
from typing import Any

import pytest

from predictd import process


def test_modules_that_come_while_they_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: dict[str, Any] = {}

    class Name(str):
        """A module's name whose neighbour is imported the moment that it is looked at."""

        __slots__ = ()

        def startswith(self, *arguments: Any) -> bool:
            modules[f"neighbour of {self}"] = None
            return super().startswith(*arguments)

    modules.update({Name(name): types.ModuleType(name) for name in ("json", "predictd_x", "zmq")})
    monkeypatch.setattr(process, "sys", types.SimpleNamespace(modules=modules))
    process._finish_imports()
    assert len(modules) == 6
