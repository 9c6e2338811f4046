"""The import contracts hold, and each of them is broken by the import that it forbids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.checkout import CHECKOUT, PACKAGES

# contract, the module that breaks it, the import that it must not have
VIOLATIONS = [
    ("layers", "predictd_proto.planted", "predictd"),
    ("layers", "predictd.planted", "predictd_celery"),
    ("layers", "predictd_server.planted", "predictd_celery"),
    ("server-without-client", "predictd_server.planted", "predictd"),
    ("client-without-server", "predictd.planted", "predictd_server"),
    ("client-without-server", "predictd_celery.planted", "predictd_server"),
    ("tensorflow", "predictd_server.planted", "tensorflow"),
    ("tensorflow", "predictd.planted", "keras"),
    ("backends", "predictd_server.planted", "jax"),
    ("backends", "predictd_server.tensorflow.planted", "torch"),
    ("backends-without-tensorflow", "predictd_server.keras_backends.planted", "predictd_server.tensorflow.loading"),
    ("backends-without-tensorflow", "predictd_server.trials.planted", "predictd_server.tensorflow.loading"),
    ("zmq", "predictd_server.planted", "zmq"),
    ("zmq", "predictd.planted", "zmq.asyncio"),
    ("zmq", "predictd.testing.planted", "zmq"),
    ("celery", "predictd.planted", "celery"),
    ("celery", "predictd_server.planted", "kombu"),
    ("thin-client", "predictd.planted", "rich.progress"),
    ("thin-client", "predictd.testing.planted", "pytest"),
    ("rooms", "predictd.connections.planted", "predictd.requests"),
    ("rooms", "predictd.in_flight.planted", "predictd.rows"),
    ("rooms", "predictd.routing.planted", "predictd.client"),
    ("wire", "predictd_proto.planted", "socket"),
    ("serving", "predictd_server.serving.planted", "predictd_server.sockets.frontend"),
    ("serving", "predictd_server.serving.planted", "threading"),
    ("zmq", "predictd_server.serving.planted", "zmq"),
]
# contract, the module that it lets through, the import
ALLOWED = [
    ("tensorflow", "predictd_server.tensorflow.planted", "tensorflow"),
    ("tensorflow", "predictd_server.tensorflow.planted", "keras.saving"),
    ("tensorflow", "predictd_server.keras_backends.planted", "keras"),
    ("backends", "predictd_server.keras_backends.planted", "torch"),
    ("celery", "predictd_celery.planted", "celery"),
]


class Copy:
    """The four packages somewhere else, to plant imports in.

    Attributes:
        root: The folder that holds the packages.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, source in PACKAGES.items():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, root / name, ignore=ignored)

    def lint(self, *contracts: str) -> subprocess.CompletedProcess[str]:
        chosen = [part for contract in contracts for part in ("--contract", contract)]
        config = str(CHECKOUT / "pyproject.toml")
        command = str(Path(sys.executable).with_name("lint-imports"))
        return subprocess.run(
            [command, "--no-logo", "--no-cache", "--config", config, *chosen],
            cwd=self.root,
            # Before the checkout's own packages, which the environment has as an editable install.
            env={**os.environ, "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def plant(self, module: str, imported: str) -> Path:
        path = self.root.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(f'"""Planted."""\nimport {imported}\n', encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def planted(copy: Copy, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    module, imported = request.param
    path = copy.plant(module, imported)
    yield module, imported
    path.unlink()


def each_of(imports: list[tuple[str, str, str]]) -> pytest.MarkDecorator:
    """Run a test for each of the imports, with the import planted."""
    cases = [pytest.param(c, (m, i), id=f"{c}: {m} imports {i}") for c, m, i in imports]
    return pytest.mark.parametrize(("contract", "planted"), cases, indirect=["planted"])


def test_all_contracts_hold_here(copy: Copy) -> None:
    ran = copy.lint()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout


@each_of(VIOLATIONS)
def test_a_contract_is_broken_by_what_it_forbids(copy: Copy, contract: str, planted: tuple[str, str]) -> None:
    module, imported = planted
    ran = copy.lint(contract)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "BROKEN" in ran.stdout
    assert f"{module} -> {imported.split('.', maxsplit=1)[0]}" in ran.stdout


@each_of(ALLOWED)
def test_the_fence_has_its_gate(copy: Copy, contract: str, planted: tuple[str, str]) -> None:
    module, imported = planted
    assert f"{module} -> {imported}" not in copy.lint(contract).stdout


def test_every_contract_was_tried() -> None:
    listed = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    ids = {line.split('"')[1] for line in listed.splitlines() if line.startswith("id = ")}
    assert ids == {contract for contract, _, _ in VIOLATIONS}
