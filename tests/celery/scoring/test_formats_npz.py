""".npz: what is read and unpacked of an archive, counted; and archives that are not as they were written."""

from __future__ import annotations

import errno
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from predictd.testing import FakeServer, fake_server
from predictd_celery import score
from predictd_celery.scoring.formats.kinds import KINDS
from predictd_celery.scoring.formats.spans import Limits, Source, Span
from predictd_proto.errors import ConfigError, PredictdError, ScoreError
from predictd_proto.tensors import TensorSpec
from tests.celery.scoring.format_rows import chunks_of
from tests.celery.scoring.scored_files import DOUBLE, WIDTH, table

ROWS, CHUNKS = 4000, 80
LIMITS = Limits(ROWS // CHUNKS, 1 << 30)
SPEC = TensorSpec("x", "float32", (None, WIDTH))
NPZ = KINDS["npz"]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(DOUBLE) as found:
        yield found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which members of archives are opened, each time."""
    found: list[str] = []
    original: Any = zipfile.ZipFile.open

    def noting(self: zipfile.ZipFile, name: Any, *args: Any, **words: Any) -> Any:
        found.append(name if isinstance(name, str) else name.filename)
        return original(self, name, *args, **words)

    monkeypatch.setattr(zipfile.ZipFile, "open", noting)
    return found


def scanned(path: Path) -> tuple[Source, tuple[Span, ...]]:
    source = Source(str(path), path.name, str(path.parent))
    return source, NPZ.scan(source, LIMITS).spans


def bytes_read() -> int:
    """Return how much this process has read so far."""
    [count] = re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    return int(count)


@pytest.mark.parametrize("order", [np.ascontiguousarray, np.asfortranarray])
def test_of_a_stored_array_nothing_is_read_twice(tmp_path: Path, opened: list[str], order: Callable) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, other=np.zeros(ROWS), x=order(table(ROWS)))
    source, spans = scanned(path)
    opened.clear()
    before = bytes_read()
    found = [NPZ.read(source, span, (SPEC,)).arrays["x"] for span in spans]
    # For each chunk the archive's list, and the heads of its arrays.
    assert bytes_read() - before < path.stat().st_size + CHUNKS * 20_000
    assert opened == []
    np.testing.assert_array_equal(np.concatenate(found), table(ROWS))
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("order", [np.ascontiguousarray, np.asfortranarray])
def test_a_compressed_array_is_unpacked_once_for_all_threads(
    tmp_path: Path, opened: list[str], order: Callable
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, other=np.zeros(ROWS), x=order(table(ROWS)))
    source, spans = scanned(path)
    opened.clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda span: NPZ.read(source, span, (SPEC,)).arrays["x"], spans))
    assert opened == ["x.npy"]
    np.testing.assert_array_equal(np.concatenate(found), table(ROWS))


def test_processes_share_what_was_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=table(ROWS))
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        runs = [pool.submit(chunks_of, path, LIMITS, SPEC) for _ in range(2)]
        for run in runs:
            np.testing.assert_array_equal(np.concatenate([rows.arrays["x"] for rows in run.result()]), table(ROWS))
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".lock", ".npy", ".npz"]


def test_a_file_that_was_replaced_is_unpacked_anew(tmp_path: Path) -> None:
    for factor in (1, 2):
        np.savez_compressed(tmp_path / "a.npz", x=table(ROWS) * factor)
        found = chunks_of(tmp_path / "a.npz", LIMITS, SPEC)
        np.testing.assert_array_equal(np.concatenate([rows.arrays["x"] for rows in found]), table(ROWS) * factor)


def test_what_was_unpacked_goes_with_the_run_and_not_before(server: FakeServer, tmp_path: Path, opened: list) -> None:
    path, out = tmp_path / "a.npz", tmp_path / "out"
    np.savez_compressed(path, x=table(40))
    words: dict = {"chunk_rows": 10, "window": 1, "progress": 0}
    with pytest.raises(ScoreError, match="stopped: 1 of 4 chunks"):
        score("double", path, out, is_stopping=lambda: any((out / ".predictd-score").glob("*.chunk")), **words)
    assert len(list((out / ".predictd-score").glob("*.npy"))) == 1
    opened.clear()
    assert score("double", path, out, **words).kept_chunks == 1
    # Its head, by the look that each run begins with, and no more.
    assert opened.count("x.npy") == 1
    assert sorted(one.name for one in out.iterdir()) == [".predictd-score.lock", "a.npz", "manifest.json"]
    with np.load(out / "a.npz") as found:
        np.testing.assert_array_equal(found["y"], table(40) * 2)


@pytest.mark.parametrize("has_links", [True, False])
def test_hosts_that_do_not_see_each_other_s_locks_unpack_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=table(ROWS))
    both = threading.Barrier(2)

    def copy(packed: IO[bytes], file: IO[bytes], _: int) -> None:
        content = packed.read()
        file.write(content[:1000])
        both.wait(60)
        file.write(content[1000:])
        both.wait(60)

    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr("shutil.copyfileobj", copy)
    if not has_links:
        monkeypatch.setattr("os.link", no_link)
    source, [span, *_] = scanned(tmp_path / "a.npz")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: NPZ.read(source, span, (SPEC,)).arrays["x"], range(2)))
    for rows in found:
        np.testing.assert_array_equal(rows, table(ROWS)[: span.rows])
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".lock", ".npy", ".npz"]


def test_without_room_to_unpack_it_says_where(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=table(ROWS))
    source, [span, *_] = scanned(tmp_path / "a.npz")
    nowhere = Source(source.path, source.name, str(tmp_path / "nowhere"))
    with pytest.raises(
        ScoreError, match=r"a\.npz: x\.npy is compressed and can't be unpacked to .*nowhere.*; run the same"
    ):
        NPZ.read(nowhere, span, (SPEC,))


def test_where_the_disk_is_full_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    np.savez_compressed(tmp_path / "a.npz", x=table(ROWS))
    source, [span, *_] = scanned(tmp_path / "a.npz")
    monkeypatch.setattr("shutil.copyfileobj", copy)
    with pytest.raises(ScoreError, match="No space left on device; make room there"):
        NPZ.read(source, span, (SPEC,))
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".lock", ".npz"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_archive_is_told_and_never_scored(
    server: FakeServer, tmp_path: Path, save: Callable, share: float
) -> None:
    path = tmp_path / "a.npz"
    save(path, x=table(ROWS))
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.npz: expected a \.npz file of numbers: "):
        score("double", path, tmp_path / "out", progress=0)
    assert not list((tmp_path / "out").rglob("*.npy"))
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(PredictdError, match=r"a\.npz"):
        score("double", path, tmp_path / "out", progress=0)
