"""Files of Keras 2: told by the version they name, read by tf_keras, and without it by Keras 3 where that can."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from predictd_proto.errors import ModelLoadError
from predictd_server.keras_files.stored_config import read_stored_config
from tests.models.format_table import original, rows_of
from tests.models.loading_steps import default, keras_answer, load, predict, saved

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize(("line", "is_keras_3"), [("keras", True), ("tf_keras", False)])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_file_says_which_keras_wrote_it(line: str, is_keras_3: bool, ending: str, tmp_path: Path) -> None:
    import importlib

    stored = read_stored_config(saved(original(line, "mlp"), tmp_path / f"m{ending}"))
    assert stored.keras_version == importlib.import_module(line).__version__
    assert stored.is_keras_3 == is_keras_3


@pytest.mark.parametrize(
    ("version", "is_keras_3"), [("2.4.0", False), ("2.13.1-tf", False), ("3.0.0", True), ("10.0.0", True)]
)
def test_versions_are_numbers(version: str, is_keras_3: bool, tmp_path: Path) -> None:
    path = saved(original("tf_keras", "mlp"), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = version
    assert read_stored_config(path).is_keras_3 == is_keras_3


def test_a_file_of_keras_1_names_no_version_and_is_read_by_keras_2(tmp_path: Path) -> None:
    path = saved(original("tf_keras", "mlp"), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["keras_version"]
        del file["model_weights"].attrs["keras_version"]
    assert not read_stored_config(path).is_keras_3
    rows = rows_of("mlp")
    expected = keras_answer(original("tf_keras", "mlp"), rows)
    np.testing.assert_allclose(predict(default(load(path, (1, 2))), rows), expected, rtol=1e-4, atol=1e-6)


def test_an_archive_without_metadata_is_one_of_keras_3(tmp_path: Path) -> None:
    whole = saved(original("keras", "mlp"), tmp_path / "whole.keras")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(tmp_path / "m.keras", "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, "{}" if name == "metadata.json" else archive.read(name))
    assert read_stored_config(tmp_path / "m.keras").is_keras_3


def test_without_keras_2_keras_3_reads_what_it_can_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(original("tf_keras", "mlp"), tmp_path / "m.h5")
    rows = rows_of("mlp")
    expected = keras_answer(original("tf_keras", "mlp"), rows)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    loaded = load(path, (1, 2))
    np.testing.assert_allclose(predict(default(loaded), rows), expected, rtol=1e-4, atol=1e-6)
    assert any("tf_keras isn't installed: compare its answers" in note for note in loaded.notes)


def test_without_keras_2_what_keras_3_cannot_read_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(original("tf_keras", "cnn"), tmp_path / "m.h5")
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ModelLoadError, match=r"Keras 2\.\S+ wrote it, and Keras 3\.\S+ can't read it \(") as caught:
        load(path)
    assert "pip install 'predictd[server,keras2]'" in caught.value.message
    assert "pip install --no-deps 'tf_keras==2." in caught.value.message
