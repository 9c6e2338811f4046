"""Outputs never take the place of inputs, of each other or of anybody else's files; that is known before all else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from predictd.testing import FakeModel, FakeServer, fake_server
from predictd_celery import score
from predictd_celery.scoring.formats.spans import Source
from predictd_celery.scoring.inputs import InputSource
from predictd_celery.scoring.targets import check_targets
from predictd_proto.errors import ConfigError
from tests.celery.scoring.scored_files import DOUBLE, MEANS, table

BOTH = FakeModel(
    "both",
    inputs={"x": ("float32", (None, 3))},
    outputs={"one": ("float32", (None, 3)), "two": ("float32", (None, 3))},
    answer=lambda x: {"one": x, "two": x},
)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(DOUBLE, BOTH, MEANS) as found:
        yield found


def refuse(model: str, inputs: list[Path], out: Path, says: str) -> None:
    there = set(out.parent.rglob("*"))
    before = {path: path.read_bytes() for path in there if path.is_file()}
    with pytest.raises(ConfigError, match=says):
        score(model, inputs, out, progress=0)
    assert {path: path.read_bytes() for path in before} == before
    assert set(out.parent.rglob("*")) - there <= {out, out / ".predictd-score.lock"}


def test_an_input_is_never_overwritten(server: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    path = folder / "rows.npy"
    np.save(path, table(4))
    refuse("double", [path], folder, r"rows\.npy would be overwritten by the output of rows\.npy")


def test_nor_by_another_s_output_or_through_a_link(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", table(4))
    out = tmp_path / "out"
    out.mkdir()
    np.savez(out / "a.npz", x=table(4))
    refuse("both", [tmp_path / "a.npy", out / "a.npz"], out, "would have one name, a.npz|a.npz would be overwritten")
    (out / "a.npy").symlink_to(tmp_path / "a.npy")
    refuse("double", [tmp_path / "a.npy"], out, r"a\.npy would be overwritten")


@pytest.mark.parametrize("first", ["a.NPY", "a.npy"])
def test_two_inputs_with_one_output_name(server: FakeServer, tmp_path: Path, first: str) -> None:
    with (tmp_path / first).open("wb") as file:
        np.save(file, table(4))
    np.savez(tmp_path / "a.npz", x=table(4))
    paths = [tmp_path / first, tmp_path / "a.npz"]
    refuse("both", paths, tmp_path / "out", r"would have one name, a\.npz")
    # Of one output the names are as different as the inputs'.
    assert score("double", paths, tmp_path / "out", progress=0).outputs == (first, "a.npz")


def test_a_folder_of_images_and_its_namesake(server: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (5, 4)).save(folder / "a.png")
    (tmp_path / "photos.jsonl").write_text("[1, 2, 3]\n")
    refuse("means", [folder, tmp_path / "photos.jsonl"], tmp_path / "out", r"would have one name, photos\.jsonl")


def test_a_folder_named_as_a_file(server: FakeServer, tmp_path: Path) -> None:
    for name in ("x", "a.npy"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "x" / "a.npy", table(4))
    Image.new("RGB", (5, 4)).save(tmp_path / "a.npy" / "a.png")
    refuse("means", [tmp_path / "a.npy", tmp_path / "x" / "a.npy"], tmp_path / "out", r"one entry, a\.npy, for both")


def test_one_name_in_two_folders(server: FakeServer, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", table(4))
    refuse("double", [tmp_path / "x" / "a.npy", tmp_path / "y" / "a.npy"], tmp_path / "out", "would have one name")


def test_case_counts_where_the_file_system_has_it(tmp_path: Path) -> None:
    both = [InputSource(Source(str(tmp_path), name, str(tmp_path)), "npy", name) for name in ("a.npy", "A.npy")]
    check_targets(tmp_path, both, (), ignores_case=False)
    with pytest.raises(ConfigError, match="would have one name"):
        check_targets(tmp_path, both, (), ignores_case=True)


def test_somebody_else_s_file_stays(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", table(4))
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.npy").write_bytes(b"a year's work")
    refuse("double", [tmp_path / "a.npy"], out, r"a\.npy is there already, and not an output of this folder's run")
