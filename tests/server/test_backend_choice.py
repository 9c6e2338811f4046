"""The backend is chosen in the configuration: what isn't installed or means nothing to it is an error at the start."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from predictd_proto.errors import ConfigError
from predictd_server.models.backend import choose_backend
from predictd_server.settings import SETTINGS, Settings
from tests.daemon_process import run_command

MISSING = [name for name in ("jax", "torch") if find_spec(name) is None]


@pytest.mark.parametrize("name", MISSING)
def test_a_backend_that_is_not_installed_is_named_with_its_extra(name: str) -> None:
    settings = Settings(backend=name, origins={"backend": "file predictd.toml"})
    with pytest.raises(ConfigError) as caught:
        choose_backend(settings)
    text = caught.value.message
    assert text.startswith(f"file predictd.toml: backend = '{name}' needs the package {name}")
    assert f"pip install 'predictd[{name}]', or set backend = 'tensorflow'" in text


@pytest.mark.integration
@pytest.mark.parametrize("name", MISSING[:1])
def test_a_daemon_on_a_backend_that_is_not_installed_ends_at_once(name: str, models: Path) -> None:
    done = run_command("serve", "--backend", name, models / "mlp.keras", timeout_s=60)
    assert done.returncode == 78, done.stderr
    assert f"predictd[{name}]" in done.stderr
    assert "flag --backend" in done.stderr


def test_a_backend_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of tensorflow, jax, torch"):
        next(each for each in SETTINGS if each.name == "backend").check("theano", "flag --backend")


@pytest.mark.parametrize(
    ("backend", "foreign"),
    [
        ("jax", {"inter_op_threads": 2}),
        ("jax", {"deterministic": True}),
        ("torch", {"memory_growth": False}),
    ],
)
def test_a_setting_that_means_nothing_to_the_backend_is_an_error(backend: str, foreign: dict[str, Any]) -> None:
    [name] = foreign
    with pytest.raises(ConfigError, match=f"{name} = .* has no effect: backend = '{backend}'"):
        Settings(backend=backend, **foreign)
    Settings(backend="tensorflow", **foreign)
