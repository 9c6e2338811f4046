"""The repository: every layout, every policy, and whatever else may lie on a disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

from predictd_server.models.policy import wanted
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings


def keras_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def test_the_newest_of_numbered_versions_is_wanted(tmp_path: Path) -> None:
    for version in ("9", "10"):
        keras_file(tmp_path / "mnist" / version / "any.keras")
    found = Repository([ModelSettings(name="", path=tmp_path / "mnist")]).look()["mnist"]
    assert sorted(found.versions) == [9, 10]
    assert found.versions[10].path == tmp_path / "mnist" / "10" / "any.keras"
    assert wanted(found) == (10,)
