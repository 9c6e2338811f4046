"""What a wheel carries and asks for: the thin client, the extras, the typed packages, the commands."""

from __future__ import annotations

import configparser
import importlib
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement

from tests.house.checkout import CHECKOUT, PACKAGES

# Everything that a Celery child pays for. To add a name is a decision, not a convenience.
THIN_CLIENT = {"click", "msgpack", "numpy", "pyzmq"}
EXTRAS = {"all", "celery", "images", "jax", "keras2", "parquet", "server", "server-cpu", "torch"}
# Releases whose model loader runs or reads what it should not, and the patched ones beside them.
UNSAFE_KERAS = ["3.11.3", "3.12.0", "3.12.3", "3.13.2", "3.14.1", "3.15.0"]
SAFE_KERAS = ["3.12.4", "3.15.1"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    built = subprocess.run(
        [*command, "--directory", str(folder)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("predictd-*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(dist_info(wheel, "METADATA"))


def dist_info(wheel: zipfile.ZipFile, name: str) -> str:
    (found,) = [entry for entry in wheel.namelist() if entry.endswith(f".dist-info/{name}")]
    return wheel.read(found).decode("utf-8")


def requirements(metadata: Message, extra: str = "") -> dict[str, Requirement]:
    """Return what an extra asks for, or without one what everybody gets."""
    parsed = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    return {
        requirement.name: requirement
        for requirement in parsed
        if ("extra ==" in str(requirement.marker)) == bool(extra)
        and (requirement.marker is None or requirement.marker.evaluate({"extra": extra}))
    }


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    carried = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert carried == expected
    assert {f"{name}/py.typed" for name in PACKAGES} <= carried


def test_the_client_alone_stays_thin(metadata: Message) -> None:
    assert set(requirements(metadata)) == THIN_CLIENT


def test_every_dependency_of_the_client_has_a_floor(metadata: Message) -> None:
    # `make test-pythons` turns each floor into a pin; another kind of bound would slip through.
    for requirement in requirements(metadata).values():
        assert [bound.operator for bound in requirement.specifier] == [">="], str(requirement)


def test_the_extras_are_the_documented_ones(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


@pytest.mark.parametrize("extra", ["server", "server-cpu", "jax", "torch"])
def test_the_server_never_installs_a_keras_with_a_known_hole(metadata: Message, extra: str) -> None:
    keras = requirements(metadata, extra)["keras"].specifier
    assert [release for release in UNSAFE_KERAS if keras.contains(release)] == []
    assert [release for release in SAFE_KERAS if keras.contains(release)] == SAFE_KERAS


def test_commands_of_other_packages_are_found_by_entry_point(wheel: zipfile.ZipFile) -> None:
    entry_points = configparser.ConfigParser()
    entry_points.read_string(dist_info(wheel, "entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"predictd": "predictd.cli.commands:main"}
    for name, target in entry_points["predictd.commands"].items():
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{name} = {target}"
        assert command.name == name


def test_the_version_is_said_once(metadata: Message) -> None:
    assert metadata["Version"] == "0.1.0"
    assert metadata["Requires-Python"] in {">=3.10,<3.14", "<3.14,>=3.10"}
    assert Path(CHECKOUT / "LICENSE").is_file()
