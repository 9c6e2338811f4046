"""The repository: every layout, and whatever else may lie on a disk. What is wrong is told, never raised."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from predictd_proto.errors import PredictdError
from predictd_server.models.contents import fingerprint
from predictd_server.models.files import ModelFile, ModelFormat
from predictd_server.models.layouts import version_at
from predictd_server.models.policy import wanted
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from tests.model_files import keras_file, models_of_every_layout, saved_model
from tests.server.repositories import repository, the_one


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return models_of_every_layout(tmp_path)


def test_a_directory_holds_models_of_every_layout(mixed: Path) -> None:
    there = repository(mixed)
    there.check(is_watched=False)
    found = there.look()
    assert {name: sorted(model.versions) for name, model in found.items()} == {
        "bare": [1],
        "digits": [1],
        "mnist": [9, 10],
        "older": [1],
        "saved": [1],
    }
    assert not any(model.problems or model.notes for model in found.values())
    assert there.refused == ()
    assert wanted(found["mnist"]) == (10,)
    assert found["mnist"].versions[9] == ModelFile(
        "mnist", mixed / "mnist" / "9", ModelFormat.SAVED_MODEL, 9, mixed / "mnist" / "9"
    )
    assert found["digits"].versions[1].path == mixed / "digits" / "1" / "whatever.keras"
    assert found["bare"].versions[1] == ModelFile("bare", mixed / "bare.keras", ModelFormat.KERAS)
    assert found["bare"].settings == ModelSettings(name="bare", path=mixed / "bare.keras")


@pytest.mark.parametrize("name", ["mnist", "bare.keras", "saved"])
def test_one_model_may_be_named_alone_and_called_otherwise(name: str, mixed: Path) -> None:
    assert list(repository(mixed / name).look()) == [name.partition(".")[0]]
    assert list(repository(f"x={mixed / name}").look()) == ["x"]


def test_looking_reads_no_contents_but_first_bytes_and_changes_nothing(mixed: Path) -> None:
    there = repository(mixed)
    before = there.look()
    assert there.look() == before
    assert all(
        model.fingerprints[number] == fingerprint(file)
        for model in before.values()
        for number, file in model.versions.items()
    )


def test_a_directory_is_called_by_its_own_name_however_one_gets_there(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mixed / "mnist")
    assert list(repository(".").look()) == list(repository("9/..").look()) == ["mnist"]


def test_a_model_may_be_called_what_a_version_may_not(tmp_path: Path) -> None:
    saved_model(tmp_path / "tmp-model" / "1")
    saved_model(tmp_path / "latest")
    assert sorted(repository(tmp_path).look()) == ["latest", "tmp-model"]


def test_a_model_without_an_ending_in_its_directory_s_name_keeps_its_dots(tmp_path: Path) -> None:
    keras_file(tmp_path / "resnet-2.1" / "3" / "m.keras")
    assert list(repository(tmp_path / "resnet-2.1").look()) == ["resnet-2.1"]


def test_versions_behind_links_are_found(tmp_path: Path) -> None:
    saved_model(tmp_path / "store" / "abc")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "4").symlink_to(tmp_path / "store" / "abc")
    found = the_one(tmp_path / "m")
    assert found.versions[4].path == tmp_path / "m" / "4"


def test_versions_that_the_settings_name_and_nobody_put_there_are_problems(tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    found = the_one(tmp_path, versions=(1, 3), labels={"stable": 1}, default_version=1)
    assert found.problems == {3: f"versions of model 'm' names version 3, but {tmp_path} holds no such directory"}
    found = the_one(tmp_path, labels={"stable": 4}, default_version=5)
    assert found.problems == {
        4: f"label 'stable' of model 'm' names version 4, but {tmp_path} holds no such directory",
        5: f"default_version of model 'm' names version 5, but {tmp_path} holds no such directory",
    }
    assert wanted(found) == (1,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"versions": (2,)}, "names version 2, but .* is a model alone, which is version 1"),
        ({"labels": {"stable": 2}}, "label 'stable' .* names version 2"),
        ({"default_version": 3}, "default_version .* names version 3"),
        ({"tags": ("serve",)}, "tags has no effect: it is for models stored as saved_model, and .* stored as keras"),
        ({"inputs": {"x": "x:0"}}, "inputs has no effect: it is for models stored as frozen_graph"),
        ({"outputs": {"x": "x:0"}}, "outputs has no effect"),
    ],
)
def test_settings_that_a_bare_file_can_never_fulfil_are_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = keras_file(tmp_path / "m.keras")
    with pytest.raises(PredictdError, match=words):
        Repository([ModelSettings(name="m", path=path, **settings)]).check(is_watched=False)


def test_a_fingerprint_tells_a_change_during_a_load(tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    found = the_one(tmp_path)
    file = found.versions[1]
    before = fingerprint(file)
    assert before == found.fingerprints[1]
    assert before.size_bytes == 2
    (tmp_path / "1" / ".lock").touch()
    assert fingerprint(file) == before
    (tmp_path / "1" / "variables").mkdir()
    (tmp_path / "1" / "variables" / "variables.index").write_text("x")
    assert fingerprint(file) != before
    shutil.rmtree(tmp_path / "1")
    assert fingerprint(file).size_bytes == 0
    assert fingerprint(file) != before


@pytest.mark.parametrize("name", ["golden.npz", "warmup.npz"])
def test_samples_beside_a_bare_file_belong_to_its_fingerprint(name: str, tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    keras_file(tmp_path / "n.keras")
    file = the_one(path).versions[1]
    before = fingerprint(file)
    (tmp_path / f"n.{name}").write_bytes(b"another model's")
    assert fingerprint(file) == before == the_one(path).fingerprints[1]
    (tmp_path / f"m.{name}").write_bytes(b"1")
    there = fingerprint(file)
    assert before != there == the_one(path).fingerprints[1]
    (tmp_path / f"m.{name}").write_bytes(b"22")
    assert fingerprint(file) not in (before, there)
    (tmp_path / f"m.{name}").unlink()
    assert fingerprint(file) == before


def test_a_directory_is_a_version_by_its_number_and_what_is_in_it(tmp_path: Path) -> None:
    keras_file(tmp_path / "m" / "1" / "m.keras")
    saved_model(tmp_path / "m" / "2")
    (tmp_path / "m" / "3").mkdir()
    (tmp_path / "m" / "4").mkdir()
    (tmp_path / "m" / "4" / "cut.keras").write_bytes(b"PK")
    for name in ("a", "b"):
        keras_file(tmp_path / "20260131" / f"{name}.keras")
    saved_model(tmp_path / "20260201" / "a" / "1")
    keras_file(tmp_path / "v1" / "m.keras")
    there = [*(tmp_path / "m").iterdir(), *tmp_path.iterdir(), tmp_path / "5"]
    assert {path.name: version_at(path) for path in there if version_at(path) is not None} == {
        "1": 1,
        "2": 2,
        "3": 3,
        "4": 4,
    }
