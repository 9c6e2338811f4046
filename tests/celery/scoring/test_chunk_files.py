"""A chunk's file: what is written comes back, and nothing else is taken for it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_celery.scoring.answers import Answers
from predictd_celery.scoring.chunk_files import read_chunk, write_chunk
from predictd_celery.scoring.rows import BadRow
from predictd_proto.errors import ScoreError


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(0, 5), dtype=st.sampled_from(["float32", "int64", "bool", "O"]), flip=st.integers(0, 10_000))
def test_it_comes_back_or_is_refused(rows: int, dtype: str, flip: int) -> None:
    array = np.array([[b"a", b"bc"]] * rows, object).reshape(rows, 2) if dtype == "O" else np.ones((rows, 2), dtype)
    answers = Answers(rows + 1, {"y": array}, (BadRow(rows, "a.csv:7", "no number"),))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "one.chunk")
        write_chunk(path, "key", answers)
        found = read_chunk(path, "key")
        assert found is not None
        assert (found.count, found.bad) == (answers.count, answers.bad)
        np.testing.assert_array_equal(found.outputs["y"], array)
        assert read_chunk(path, "other") is None
        content = bytearray(path.read_bytes())
        content[flip % len(content)] ^= 1
        path.write_bytes(content)
        assert read_chunk(path, "key") is None
        path.write_bytes(content[: flip % len(content)])
        assert read_chunk(path, "key") is None
        assert [one.name for one in path.parent.iterdir()] == ["one.chunk"]


def test_what_can_t_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"nowhere/one\.chunk can't be written: No such file"):
        write_chunk(tmp_path / "nowhere" / "one.chunk", "key", Answers(0, {}))
    assert read_chunk(tmp_path / "one.chunk", "key") is None
