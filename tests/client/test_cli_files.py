"""The command's output files: written whole or not at all, and never read differently than they were."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictd.cli.files import check_output, read_inputs, to_plain, write_outputs
from predictd_proto.errors import ConfigError

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
WORDS = np.array([b"one", b"", b"\0three"], dtype=object)


def test_what_cannot_be_written_leaves_an_older_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    np.save(path, ROWS)
    with pytest.raises(ConfigError, match=r"several outputs; use \.npz or \.json"):
        write_outputs(str(path), {"a": ROWS, "b": ROWS})
    np.testing.assert_array_equal(np.load(path), ROWS)
    assert os.listdir(tmp_path) == ["out.npy"]


def test_an_older_file_is_replaced_and_keeps_its_permissions_and_its_links(tmp_path: Path) -> None:
    path, link = tmp_path / "out.npy", tmp_path / "link.npy"
    np.save(path, ROWS)
    path.chmod(0o640)
    link.symlink_to(path)
    write_outputs(str(link), ROWS * 2)
    np.testing.assert_array_equal(np.load(path), ROWS * 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link.npy", "out.npy"]


def test_outputs_may_have_any_name(tmp_path: Path) -> None:
    outputs = {"file": ROWS, "allow_pickle": ROWS + 1, "args": {"kwds": WORDS}, "a/b": [ROWS, ROWS + 2], "x.npy": ROWS}
    write_outputs(str(tmp_path / "out.npz"), outputs)
    read = read_inputs(str(tmp_path / "out.npz"))
    assert list(read) == ["file", "allow_pickle", "args.kwds", "a/b_0", "a/b_1", "x.npy"]
    np.testing.assert_array_equal(read["a/b_1"], ROWS + 2)
    assert read["args.kwds"].tolist() == WORDS.tolist()


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"two outputs would be 'a\.b'; use \.json"):
        write_outputs(str(tmp_path / "out.npz"), {"a": {"b": ROWS}, "a.b": ROWS})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["out.npy", "out.npz"])
def test_strings_that_numpy_would_cut_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"end in zero bytes.*use \.json"):
        write_outputs(str(tmp_path / name), np.array([b"one", b"two\0"], dtype=object))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["out.npy", "out.npz", "out.json"])
@pytest.mark.parametrize("outputs", [ROWS, WORDS, np.array([], object), np.full((), 3.0), ROWS > 2])
def test_what_was_written_is_read_again(tmp_path: Path, name: str, outputs: np.ndarray) -> None:
    write_outputs(str(tmp_path / name), outputs)
    read: Any = read_inputs(str(tmp_path / name))
    read = read["output"] if name == "out.npz" else read
    assert to_plain(read) == to_plain(outputs)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("x.txt", r"--output x\.txt: expected a name that ends in \.npy, \.npz or \.json"),
        ("x", r"--output x: expected a name"),
        ("/no/such/place/x.npy", r"--output /no/such/place/x\.npy: there is no directory /no/such/place"),
    ],
)
def test_a_name_that_will_not_do_is_told_beforehand(path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_output(path)


def test_a_name_that_will_do(tmp_path: Path) -> None:
    check_output(str(tmp_path / "x.npy"))
    assert not os.listdir(tmp_path)
