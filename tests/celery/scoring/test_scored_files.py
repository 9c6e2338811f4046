"""Every format through a whole local run, for any rows and any chunks: each row once, in order, bit for bit."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import predictd
from predictd.testing import FakeModel, FakeServer, fake_server, new_endpoint
from predictd_celery import score
from predictd_celery.scoring.formats.spans import digest_of_file
from predictd_celery.scoring.lanes import CHECK_S, LocalLane
from predictd_proto.errors import ConfigError, PredictionError, ScoreError, ServerUnavailableError
from tests.celery.scoring.scored_files import DOUBLE, FORMATS, MEANS, WIDTH, table, write_csv, write_jsonl


def odd_one_out(x: np.ndarray) -> np.ndarray:
    if (x == 7).any():
        message = "seven"
        raise ValueError(message)
    return x + 1


PICKY = FakeModel(
    "picky", inputs={"x": ("float32", (None, 1))}, outputs={"y": ("float32", (None, 1))}, answer=odd_one_out
)
PAIR = FakeModel(
    "pair",
    inputs={"a": ("float32", (None, 2)), "b": ("int32", (None, 1))},
    outputs={"sum": ("float32", (None, 1)), "b": ("int32", (None, 1))},
    answer=lambda asked: {"sum": asked["a"].sum(axis=1, keepdims=True) + asked["b"], "b": asked["b"]},
)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(DOUBLE, PICKY, PAIR, MEANS) as found:
        yield found


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=8, deadline=None)
@given(
    rows=st.lists(st.integers(0, 20), min_size=1, max_size=2),
    chunk_rows=st.integers(1, 25),
    chunk_bytes=st.integers(1, 400),
    window=st.integers(1, 5),
)
def test_each_row_comes_out_once_and_in_order(server, suffix, rows, chunk_rows, chunk_bytes, window) -> None:
    write, read = FORMATS[suffix]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = [table(count) for count in rows]
        paths = [folder / f"{place}.{suffix}" for place in range(len(rows))]
        for path, array in zip(paths, arrays, strict=True):
            write(path, array)
        out = folder / "out"
        report = score("double", paths, out, chunk_rows=chunk_rows, chunk_bytes=chunk_bytes, window=window, progress=0)
        assert (report.rows, report.bad_rows) == (sum(rows), 0)
        for path, array in zip(paths, arrays, strict=True):
            found = read(out / path.name)
            if len(array):
                np.testing.assert_array_equal(found, array * 2)
            assert len(found) == len(array)
        manifest = json.loads((out / "manifest.json").read_text())
        for path in paths:
            entry = manifest["outputs"][path.name]
            assert (entry["sha256"], entry["bytes"]) == digest_of_file(out / path.name)
            assert manifest["inputs"][path.name]["sha256"] == digest_of_file(path)[0]
        assert sorted(one.name for one in out.iterdir()) == sorted(
            [".predictd-score.lock", "manifest.json", *(path.name for path in paths)]
        )


def test_a_folder_of_images(server: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for place, name in enumerate(("b.png", "sub/c.jpg", "a.png")):
        Image.new("RGB", (50, 40), (place, 100, 200)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "d.png").write_bytes(b"broken")
    with pytest.raises(ScoreError, match=r"photos/d\.png: no image that can be read"):
        score("means", folder, tmp_path / "out", chunk_rows=2, progress=0)
    # A row is 4 x 5 x 3 numbers of 4 bytes to the model, whatever the files take.
    report = score("means", folder, tmp_path / "nulls", on_error="null", chunk_bytes=480, progress=0)
    assert report.chunks == 2
    assert report.outputs == ("photos.jsonl",)
    lines = [json.loads(line) for line in (tmp_path / "nulls" / "photos.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["a.png", "b.png", "d.png", "sub/c.jpg"]
    assert lines[0]["outputs"] == [2, 100, 200]
    assert lines[2]["outputs"] is None


def test_several_inputs_and_outputs(server: FakeServer, tmp_path: Path) -> None:
    a, b = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10, dtype=np.int32)
    np.savez(tmp_path / "rows.npz", a=a, b=b)
    rows = [{"b": [int(two)], "a": one.tolist()} for one, two in zip(a, b, strict=True)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score("pair", [tmp_path / "rows.npz", tmp_path / "rows.jsonl"], tmp_path / "out", chunk_rows=3, progress=0)
    expected = a.sum(axis=1) + b
    with np.load(tmp_path / "out" / "rows.npz") as found:
        np.testing.assert_array_equal(found["sum"][:, 0], expected)
        assert found["b"].dtype == np.int32
    lines = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert lines[3] == {"sum": [expected[3]], "b": [3]}


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_bad_lines_are_left_out_or_null_and_listed(server: FakeServer, tmp_path: Path, on_error: str) -> None:
    write_csv(tmp_path / "a.csv", table(9))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    lines[3], lines[8] = "1,2", "1,2,three"
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    report = score("double", tmp_path / "a.csv", tmp_path / "out", on_error=on_error, chunk_rows=4, progress=0)
    found = FORMATS["csv"][1](tmp_path / "out" / "a.csv")
    good = [0, 1, 3, 4, 5, 6, 8]
    assert report.bad_rows == 2
    np.testing.assert_array_equal(found if on_error == "skip" else found[good], table(9)[good] * 2)
    assert len(found) == (7 if on_error == "skip" else 9)
    bad = json.loads((tmp_path / "out" / "manifest.json").read_text())["bad_rows"]
    assert [text.split(": ")[0] for text in bad] == ["a.csv:4", "a.csv:9"]


def test_a_bad_line_stops_the_run_which_goes_on_when_it_is_mended(server: FakeServer, tmp_path: Path) -> None:
    good, bad, out = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "out"
    write_jsonl(good, table(20))
    write_jsonl(bad, table(5))
    bad.write_text(bad.read_text().replace("[", "{", 1))
    with pytest.raises(ScoreError, match=r"bad\.jsonl:1: .*mend it"):
        score("double", [good, bad], out, chunk_rows=4, window=1, progress=0)
    write_jsonl(bad, table(5))
    with pytest.raises(ScoreError, match=r"changed since .* bad\.jsonl \(sha256 .*--rescore-changed"):
        score("double", [good, bad], out, chunk_rows=4, progress=0)
    report = score("double", [good, bad], out, chunk_rows=4, rescore_changed=True, progress=0)
    assert (report.kept_chunks, report.chunks) == (5, 7)
    np.testing.assert_array_equal(FORMATS["jsonl"][1](out / "good.jsonl"), table(20) * 2)


def test_rows_that_the_model_fails_on_are_found(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.float32)[:, np.newaxis])
    with pytest.raises(PredictionError, match=r"a\.npy, row 1 and the 15 after it: .*seven"):
        score("picky", tmp_path / "a.npy", tmp_path / "stop", chunk_rows=16, progress=0)
    score("picky", tmp_path / "a.npy", tmp_path / "out", on_error="null", chunk_rows=16, progress=0)
    found = np.load(tmp_path / "out" / "a.npy")[:, 0]
    assert np.flatnonzero(np.isnan(found)).tolist() == [7]
    np.testing.assert_array_equal(np.delete(found, 7), np.delete(np.arange(1, 21), 7))
    [bad] = json.loads((tmp_path / "out" / "manifest.json").read_text())["bad_rows"]
    assert bad.startswith("a.npy, row 8: ")


@settings(max_examples=8, deadline=None)
@given(
    stop_after=st.integers(0, 7),
    torn=st.sets(st.integers(0, 7)),
    cut=st.dictionaries(st.integers(0, 7), st.floats(0, 1, exclude_max=True)),
)
def test_whenever_it_is_stopped_it_goes_on_and_nothing_is_scored_twice(
    server: FakeServer, stop_after, torn, cut
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name, "a.npy"), Path(name, "out")
        np.save(path, table(32))
        asked = iter(range(100))
        stopped: dict = {"chunk_rows": 4, "window": 1, "progress": 0, "is_stopping": lambda: next(asked) >= stop_after}
        server.reset()
        with pytest.raises(ScoreError, match=f"stopped: {stop_after} of 8 chunks are done"):
            score("double", path, out, **stopped)
        # What a killed writer leaves behind.
        for place in torn:
            (out / ".predictd-score" / f".{place}.chunk.0011.partial").write_bytes(b"predictd-chunk 1\nxx")
        # What a power cut leaves of a file that the system had not brought to the disk.
        done = sorted((out / ".predictd-score").glob("*.chunk"))
        lost = [(done[place], share) for place, share in cut.items() if place < len(done)]
        for chunk, share in lost:
            os.truncate(chunk, int(share * chunk.stat().st_size))
        report = score("double", path, out, chunk_rows=4, progress=0)
        assert report.kept_chunks == stop_after - len(lost)
        server.assert_asked("double", times=8 + len(lost))
        np.testing.assert_array_equal(np.load(out / "a.npy"), table(32) * 2)


def test_what_is_complete_is_not_asked_again(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", table(10))
    first = score("double", tmp_path / "a.npy", tmp_path / "out", progress=0)
    server.reset()
    again = score("double", tmp_path / "a.npy", tmp_path / "out", progress=0)
    server.assert_asked("double", times=0)
    assert (again.outputs, again.kept_chunks) == (first.outputs, 1)
    (tmp_path / "out" / "a.npy").write_bytes(b"damaged")
    score("double", tmp_path / "a.npy", tmp_path / "out", progress=0)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), table(10) * 2)


def test_another_question_is_not_mixed_in(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", table(10))
    score("double", tmp_path / "a.npy", tmp_path / "out", progress=0)
    with pytest.raises(ScoreError, match="on_error was 'stop', now 'null'"):
        score("double", tmp_path / "a.npy", tmp_path / "out", on_error="null", progress=0)
    shape = ("float32", (None, WIDTH))
    with fake_server(
        FakeModel("double", inputs={"x": shape}, outputs={"y": shape}, version=2), endpoint=new_endpoint()
    ) as newer:
        client = predictd.Client(newer.endpoint)
        with pytest.raises(ScoreError, match=r"version was 1, now 2.*--version 1"):
            score("double", tmp_path / "a.npy", tmp_path / "out", client=client, progress=0)


@pytest.mark.parametrize(("tick_s", "same", "kept"), [(0.0, 2, 0), (CHECK_S, 4, 2)], ids=["at the end", "between"])
def test_what_another_model_may_have_answered_is_not_kept(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tick_s: float, same: int, kept: int
) -> None:
    class Swapped(predictd.Client):
        """Its daemon has other files under the version, once it was asked so often what it serves."""

        questions = 0

        def metadata(self, *args, **words):
            self.questions += 1
            found = super().metadata(*args, **words)
            return found if self.questions <= same else replace(found, digest="other")

    class SwappedLane(LocalLane):
        def __init__(self, *_: object) -> None:
            ticks = itertools.count()
            super().__init__(Swapped(server.endpoint), 1, clock=lambda: next(ticks) * tick_s)

    np.save(tmp_path / "a.npy", table(32))
    out = tmp_path / "out"
    monkeypatch.setattr("predictd_celery.scoring.run.LocalLane", SwappedLane)
    with pytest.raises(ScoreError, match="is other here, and was"):
        score("double", tmp_path / "a.npy", out, chunk_rows=4, window=1, progress=0)
    assert len(list((out / ".predictd-score").glob("*.chunk"))) == kept


def test_what_nobody_can_vouch_for_is_not_kept(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Leaving(predictd.Client):
        """Its daemon is gone when it is asked for the last time what it serves."""

        questions = 0

        def metadata(self, *args, **words):
            self.questions += 1
            if self.questions > 2:
                message = "gone"
                raise ServerUnavailableError(message)
            return super().metadata(*args, **words)

    class LeftLane(LocalLane):
        def __init__(self, *_: object) -> None:
            super().__init__(Leaving(server.endpoint), 1, clock=lambda: 0.0)

    np.save(tmp_path / "a.npy", table(8))
    monkeypatch.setattr("predictd_celery.scoring.run.LocalLane", LeftLane)
    with pytest.raises(ServerUnavailableError):
        score("double", tmp_path / "a.npy", tmp_path / "out", chunk_rows=4, window=1, progress=0)
    assert not list((tmp_path / "out" / ".predictd-score").glob("*.chunk"))


def test_a_folder_in_use_is_refused(server: FakeServer, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", table(10))
    refused = []

    def try_too() -> bool:
        with pytest.raises(ScoreError, match=r"another run \(process \d+\) writes there"):
            score("double", tmp_path / "a.npy", tmp_path / "out", progress=0)
        refused.append(1)
        return False

    score("double", tmp_path / "a.npy", tmp_path / "out", progress=0, is_stopping=try_too)
    assert refused


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"1", "expected a folder of images, or a name that ends in"),
        ("a.npy", b"junk", "a.npy: expected a .npy file of numbers"),
        ("a.npz", b"junk", "a.npz: expected a .npz file of numbers"),
        ("a.parquet", b"junk", "a.parquet: expected a .parquet file"),
        ("a.csv", b"1,2\n", "a.csv: each row has 2 numbers"),
    ],
)
def test_what_can_t_be_scored_is_told(server: FakeServer, tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        score("double", tmp_path / name, tmp_path / "out", progress=0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"chunk_rows": 0}, "chunk_rows: expected"),
        ({"window": True}, "window: expected"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"shared_folder": True}, "without Celery"),
        ({"signature": "other"}, "no signature 'other'"),
        ({"inputs": []}, "at least one file"),
        ({"inputs": ["nowhere.npy"]}, "there is no such file"),
    ],
)
def test_wrong_words_are_refused(server: FakeServer, tmp_path: Path, words: dict, says: str) -> None:
    np.save(tmp_path / "a.npy", table(3))
    with pytest.raises(ConfigError, match=says):
        score(**{"model": "double", "inputs": tmp_path / "a.npy", "output": tmp_path / "out", "progress": 0, **words})
