"""A .csv file's first line: a header or a row, as it looks or as one says, and never neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from predictd.testing import FakeModel, FakeServer, fake_server
from predictd_celery import score
from predictd_celery.scoring.cli import score as command
from predictd_proto.errors import ConfigError, ScoreError
from tests.celery.scoring.scored_files import DOUBLE

PAIR = FakeModel(
    "pair",
    inputs={"a": ("float32", (None, 1)), "b": ("float32", (None, 1))},
    outputs={"y": ("float32", (None, 1))},
    answer=lambda asked: asked["a"] - asked["b"],
)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(DOUBLE, PAIR) as found:
        yield found


def scored(path: Path, content: str, **words: Any) -> tuple[int, int, bool]:
    """Return how many rows there were, how many were bad, and whether the manifest tells of a header."""
    path.write_text(content)
    out = path.parent / "out"
    report = score("double", path, out, on_error="null", progress=0, **words)
    assert len((out / path.name).read_text().splitlines()) == 1 + report.rows
    return report.rows, report.bad_rows, json.loads((out / "manifest.json").read_text())["inputs"][path.name]["header"]


@pytest.mark.parametrize("first", ["nan,nan,nan", ",,", "NaN,,-nan", '"a,b,c', ' ,"",', "NA,NA,NA", "null,None,N/A"])
def test_a_first_line_without_a_name_is_a_row(server: FakeServer, tmp_path: Path, first: str) -> None:
    is_bad = first != "nan,nan,nan"
    assert scored(tmp_path / "a.csv", f"{first}\n1,2,3\n") == (2, is_bad, False)


@pytest.mark.parametrize("first", ["a,b,c", "nan,b,", '"a","b","c"', "1x1,1x2,1x3"])
def test_a_first_line_of_names_is_a_header(server: FakeServer, tmp_path: Path, first: str) -> None:
    assert scored(tmp_path / "a.csv", f"\n{first}\n1,2,3\n") == (1, 0, True)


@pytest.mark.parametrize(
    ("header", "first", "expected"),
    [
        ("auto", "0,1,2", (2, 0, False)),
        ("yes", "0,1,2", (1, 0, True)),
        ("no", "0,1,2", (2, 0, False)),
        ("no", "a,b,c", (2, 1, False)),
        ("yes", "nan,nan,nan", (1, 0, True)),
    ],
)
def test_one_may_say_so(server: FakeServer, tmp_path: Path, header: str, first: str, expected: tuple) -> None:
    assert scored(tmp_path / "a.csv", f"{first}\n1,2,3\n", header=header) == expected


def test_a_run_goes_on_with_what_was_said(server: FakeServer, tmp_path: Path) -> None:
    scored(tmp_path / "a.csv", "0,1,2\n3,4,5\n6,7,8\n", header="yes", chunk_rows=1)
    with pytest.raises(ScoreError, match="header was 'yes', now 'auto'"):
        scored(tmp_path / "a.csv", "0,1,2\n3,4,5\n6,7,8\n", chunk_rows=1)


def test_several_inputs_need_their_names(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("b,other,a\n1,2,3\n5,6,7,8\n")
    with pytest.raises(ConfigError, match="expected a header with a column for each input"):
        score("pair", tmp_path / "a.csv", tmp_path / "none", header="no", progress=0)
    score("pair", tmp_path / "a.csv", tmp_path / "out", on_error="null", progress=0)
    assert (tmp_path / "out" / "a.csv").read_text().split() == ["y", "2.0", '""']


def test_the_command_takes_it(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1,2\n3,4,5\n")
    words = ["double", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out"), "--header", "yes", "--quiet"]
    found = CliRunner().invoke(command, words, catch_exceptions=False)
    assert found.output.startswith("1 rows in 1 chunks: a.csv in ")


def test_other_words_are_refused(server: FakeServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="header='maybe': expected one of auto, yes, no"):
        score("double", tmp_path / "a.csv", tmp_path / "out", header="maybe", progress=0)


@pytest.mark.parametrize("header", ["auto", "yes", "no"])
def test_lines_that_end_with_cr_alone_are_told(server: FakeServer, tmp_path: Path, header: str) -> None:
    (tmp_path / "mac.csv").write_bytes(b"1,2,3\r4,5,6\r")
    with pytest.raises(ConfigError, match=r"mac\.csv: its lines end with CR alone; save it with LF"):
        score("double", tmp_path / "mac.csv", tmp_path / "out", header=header, progress=0)


@pytest.mark.parametrize("header", ["no", "auto"])
def test_a_field_of_any_length_is_read(server: FakeServer, tmp_path: Path, header: str) -> None:
    content = f"{'x' * 200_000},2,3\n1,2,3\n"
    assert scored(tmp_path / "a.csv", content, header=header) == (2, 1, False)
