"""Inputs that are links, that can't be read, or that go away: what is told of them, and by which name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from predictd.testing import FakeModel, FakeServer, fake_server
from predictd_celery import score
from predictd_celery.scoring.cli import score as command
from predictd_proto.errors import ConfigError, PredictdError, ScoreError
from tests.celery.scoring.scored_files import DOUBLE, FORMATS, MEANS, table, write_csv

NAMES = FakeModel(
    "names",
    inputs={"x": ("float32", (None, 3))},
    outputs={"name": ("string", (None, 1)), "number": ("float32", (None, 1))},
    answer=lambda x: {"name": np.array([["Zo\u00eb, \u6c34".encode()]] * len(x), object), "number": x[:, :1]},
)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(DOUBLE, MEANS, NAMES) as found:
        yield found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images, one of them in a folder within."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "c.png", "sub/d.png"):
        Image.new("RGB", (5, 4), (1, 2, 3)).save(folder / name)
    return folder


def test_a_link_counts_by_its_own_name(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    write_csv(tmp_path / "data-v1.csv", table(3))
    (tmp_path / "data-v1.csv").rename(tmp_path / "blobs" / "5f3a")
    (tmp_path / "rows.csv").symlink_to("blobs/5f3a")
    write_csv(tmp_path / "data-v2.csv", table(4))
    (tmp_path / "a.csv").symlink_to("data-v2.csv")
    report = score("double", [tmp_path / "rows.csv", tmp_path / "a.csv"], tmp_path / "out", progress=0)
    assert report.outputs == ("rows.csv", "a.csv")
    np.testing.assert_array_equal(FORMATS["csv"][1](tmp_path / "out" / "rows.csv"), table(3) * 2)


def test_so_does_a_link_to_a_folder_and_a_dot(
    server: FakeServer, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "today").symlink_to("photos")
    assert score("means", tmp_path / "today", tmp_path / "out", progress=0).outputs == ("today.jsonl",)
    monkeypatch.chdir(photos)
    assert score("means", ".", tmp_path / "dot", progress=0).outputs == ("photos.jsonl",)


def test_a_broken_link_or_a_pipe_among_images_is_a_bad_row(server: FakeServer, tmp_path: Path, photos: Path) -> None:
    (photos / "0.png").symlink_to("nowhere.png")
    os.mkfifo(photos / "b.png")
    with pytest.raises(ScoreError, match=r"photos/0\.png: no image that can be read: .*a broken link"):
        score("means", photos, tmp_path / "stop", progress=0)
    score("means", photos, tmp_path / "out", on_error="null", progress=0)
    lines = [json.loads(line) for line in (tmp_path / "out" / "photos.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines if line["outputs"] is None] == ["0.png", "b.png"]
    assert len(lines) == 5


def test_whatever_pillow_raises_is_a_bad_row(
    server: FakeServer, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = Image.Image.convert

    def convert(self: Any, *args: Any) -> Any:
        if self.filename.endswith("c.png"):
            message = "unpack requires a buffer of 4 bytes"
            raise IndexError(message)
        return original(self, *args)

    monkeypatch.setattr(Image.Image, "convert", convert)
    report = score("means", photos, tmp_path / "out", on_error="skip", progress=0)
    assert (report.rows, report.bad_rows) == (3, 1)


def test_a_folder_within_that_can_t_be_read_is_told(
    server: FakeServer, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = os.scandir

    # Permissions stop nobody who runs the tests as root.
    def scandir(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConfigError, match=r"photos/sub can't be read: Permission denied; mend it, or leave it out"):
        score("means", photos, tmp_path / "out", on_error="skip", progress=0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_can_t_be_read_is_told_by_the_command(server: FakeServer, tmp_path: Path, suffix: str) -> None:
    # Opens, and can't be read from its beginning.
    (tmp_path / f"a.{suffix}").symlink_to("/proc/self/mem")
    words = ["double", str(tmp_path / f"a.{suffix}"), "--output", str(tmp_path / "out"), "--on-error", "skip"]
    found = CliRunner().invoke(command, words)
    assert (found.exit_code, type(found.exception)) == (2, SystemExit)
    assert f"a.{suffix}" in found.output


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "cut"])
def test_a_file_that_goes_away_while_it_is_scored_is_told(
    server: FakeServer, tmp_path: Path, suffix: str, is_gone: bool
) -> None:
    path, out = tmp_path / f"a.{suffix}", tmp_path / "out"
    FORMATS[suffix][0](path, table(200))

    def take_it_away() -> bool:
        if any((out / ".predictd-score").glob("*.chunk")) and path.exists():
            if is_gone:
                path.unlink()
            else:
                os.truncate(path, path.stat().st_size // 2)
        return False

    words: dict = {"chunk_rows": 5, "window": 1, "progress": 0, "is_stopping": take_it_away}
    says = rf"a\.{suffix} can't be read: .*the same again" if is_gone else rf"a\.{suffix}"
    with pytest.raises(ScoreError if is_gone else PredictdError, match=says):
        score("double", path, out, on_error="skip", **words)


def test_text_in_csv_may_be_any(server: FakeServer, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", table(2))
    score("names", tmp_path / "a.csv", tmp_path / "out", progress=0)
    header, *lines = (tmp_path / "out" / "a.csv").read_text(encoding="utf-8").splitlines()
    assert header == "name,number"
    assert lines == [f'"Zo\u00eb, \u6c34",{number}' for number in table(2)[:, 0].astype(str)]
