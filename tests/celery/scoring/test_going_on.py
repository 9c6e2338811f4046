"""What a second run does after a first one: changed, dropped and spoiled inputs, and deaths at each step of the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from predictd.testing import FakeModel, FakeServer, fake_server
from predictd_celery import score
from predictd_celery.scoring import job, joining
from predictd_celery.scoring.folder import Folder
from predictd_celery.scoring.formats.spans import Scan, Source, Span
from predictd_celery.scoring.stamps import changed_file, stamps_of, stamps_of_rows
from predictd_proto.errors import ScoreError
from tests.celery.scoring.scored_files import DOUBLE, FORMATS, MEANS, table

FREE = FakeModel(
    "free",
    inputs={"x": ("float32", (None, None))},
    outputs={"y": ("float32", (None, None))},
    answer=lambda x: x,
)
CHUNK_ROWS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(DOUBLE, FREE, MEANS) as found:
        yield found


def run(*paths: Path, model: str = "double", **words: Any) -> Any:
    return score(model, paths, paths[0].parent / "out", **{"chunk_rows": CHUNK_ROWS, "progress": 0, **words})


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "manifest.json").read_text())


def test_after_the_end_only_what_has_changed_is_scored_again(server: FakeServer, tmp_path: Path) -> None:
    same, other = tmp_path / "same.csv", tmp_path / "other.npy"
    same.write_text("1,2,3\n4,five,6\n")
    np.save(other, table(8))
    run(same, other, on_error="skip")
    np.save(other, table(8) + 1)
    server.reset()
    report = run(same, other, on_error="skip", rescore_changed=True)
    server.assert_asked("double", times=2)
    assert (report.kept_chunks, report.chunks, report.bad_rows) == (1, 3, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "other.npy"), (table(8) + 1) * 2)
    told = manifest(tmp_path)
    assert told["is_complete"]
    assert [text.split(":")[0] for text in told["bad_rows"]] == ["same.csv"]
    assert told["outputs"]["same.csv"]["bad_rows"] == 1


def test_an_output_whose_input_is_no_longer_asked_for_stays_and_is_listed(server: FakeServer, tmp_path: Path) -> None:
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    for path in (first, second):
        np.save(path, table(4))
    run(first, second)
    with pytest.raises(ScoreError, match=r"b\.npy \(no longer asked for; its output stays\)"):
        run(first)
    server.reset()
    assert run(first, rescore_changed=True).outputs == ("a.npy",)
    assert set(manifest(tmp_path)["outputs"]) == {"a.npy", "b.npy"}
    # It comes back without being scored.
    assert run(first, second, rescore_changed=True).outputs == ("a.npy", "b.npy")
    server.assert_asked("double", times=0)


def in_place(path: Path, array: np.ndarray) -> None:
    with path.open("r+b") as file:
        np.save(file, array)


def test_a_file_that_changes_in_mid_run_is_told_and_not_kept(server: FakeServer, tmp_path: Path) -> None:
    changing, other = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(changing, table(16))
    np.save(other, table(8))
    begun = iter(range(100))

    def change() -> bool:
        if next(begun) == 2:
            in_place(changing, table(16) + 1)
        return False

    with pytest.raises(ScoreError, match=r"a\.npy was changed while it was scored.*--rescore-changed"):
        run(changing, other, window=1, is_stopping=change)
    assert len(list((tmp_path / "out" / ".predictd-score").glob("*.chunk"))) == 2
    with pytest.raises(ScoreError, match="inputs have changed"):
        run(changing, other)
    assert run(changing, other, rescore_changed=True).kept_chunks == 2
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), (table(16) + 1) * 2)


def test_so_is_one_that_changes_in_a_run_that_is_stopped(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, table(16))
    begun = iter(range(100))

    def change_and_stop() -> bool:
        if next(begun) == 2:
            in_place(path, table(16) + 1)
            return True
        return False

    with pytest.raises(ScoreError, match="was changed while"):
        run(path, window=1, is_stopping=change_and_stop)
    # The old content is back, and none of the new one's answers are taken for its own.
    in_place(path, table(16))
    assert run(path).kept_chunks == 0


def test_an_image_that_changes_in_mid_run_is_told(server: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.bmp", "b.bmp"):
        Image.new("RGB", (5, 4), (1, 2, 3)).save(folder / name)
    (folder / "notes.txt").write_text("one")
    begun = iter(range(100))

    def change() -> bool:
        if next(begun) == 1:
            (folder / "notes.txt").write_text("two")
            Image.new("RGB", (5, 4), (4, 5, 6)).save(folder / "b.bmp")
        return False

    with pytest.raises(ScoreError, match=r"photos/b\.bmp was changed while it was scored"):
        run(folder, model="means", chunk_rows=1, window=1, is_stopping=change)


def test_a_file_that_comes_after_its_folder_was_looked_at_counts_as_changed(tmp_path: Path) -> None:
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone")
    source = Source(str(tmp_path), "photos", str(tmp_path))
    stamps = stamps_of(source)
    (tmp_path / "late.png").touch()
    there = Scan("", 0, (Span(0, 1, members=("nowhere.png",)),))
    assert changed_file(source, stamps_of_rows(stamps, there)) is None
    both = Scan("", 0, (Span(0, 2, members=("late.png", "nowhere.png")),))
    assert changed_file(source, stamps_of_rows(stamps, both)) == tmp_path / "late.png"


@pytest.mark.parametrize(("suffix", "rows"), [("csv", "one,2,3\n"), ("jsonl", "no\n")])
@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_an_input_without_a_good_row_is_no_end(
    server: FakeServer, tmp_path: Path, suffix: str, rows: str, on_error: str
) -> None:
    (tmp_path / f"bad.{suffix}").write_text(rows)
    np.save(tmp_path / "good.npy", table(4))
    report = run(tmp_path / f"bad.{suffix}", tmp_path / "good.npy", on_error=on_error)
    assert report.bad_rows == 1
    found = FORMATS[suffix][1](tmp_path / "out" / f"bad.{suffix}")
    assert len(found) == (on_error == "null")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "good.npy"), table(4) * 2)


def test_where_nothing_tells_an_output_s_width_the_bad_rows_are_listed(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("one,2\n")
    with pytest.raises(ScoreError, match=r"bad\.csv: not one of its 1 rows could be scored.*manifest lists why"):
        run(tmp_path / "bad.csv", model="free", on_error="null")
    assert [text.split(":")[0] for text in manifest(tmp_path)["bad_rows"]] == ["bad.csv"]
    assert not manifest(tmp_path)["is_complete"]


class Death(BaseException):
    """In place of SIGKILL: nothing in the run catches it."""


def die(*_: Any, **__: Any) -> None:
    raise Death


@pytest.mark.parametrize("step", ["before the output", "before the manifest", "before the chunks go"])
def test_whenever_it_dies_at_the_end_nothing_is_scored_again(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    np.save(tmp_path / "a.npy", table(8))
    with monkeypatch.context() as patch:
        if step == "before the output":
            patch.setattr(job, "write_output", die)
        elif step == "before the manifest":
            patch.setattr(job, "digest_of_file", die)
        else:
            patch.setattr(Folder, "forget_chunks", die)
        with pytest.raises(Death):
            run(tmp_path / "a.npy")
    server.reset()
    assert run(tmp_path / "a.npy").kept_chunks == 2
    server.assert_asked("double", times=0)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), table(8) * 2)
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"a.npy", "manifest.json", ".predictd-score.lock"}
    run(tmp_path / "a.npy")
    assert {path.name for path in (tmp_path / "out").iterdir()} == there


def test_a_full_disk_at_the_end_keeps_the_chunks(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", table(8))

    def fill(path: Path, *_: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setitem(joining._WRITERS, "npy", fill)
        with pytest.raises(ScoreError, match=r"a\.npy can't be written: .*No space left.*make room and run the same"):
            run(tmp_path / "a.npy")
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"manifest.json", ".predictd-score", ".predictd-score.lock"}
    server.reset()
    run(tmp_path / "a.npy")
    server.assert_asked("double", times=0)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), table(8) * 2)
