"""docs/tuning.md: its commands are understood, and what it shows as written is what would be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from predictd_server.settings_sources import load_settings
from predictd_server.tuning.cli import tune
from predictd_server.tuning.found import Found
from predictd_server.tuning.report import outcome_table
from predictd_server.tuning.request import TUNABLE
from predictd_server.tuning.variant import Variant
from tests.conftest import CHECKOUT
from tests.docs.pages import blocks_of

PAGE = CHECKOUT / "docs" / "tuning.md"
BLOCKS = blocks_of(PAGE)


def test_each_command_is_understood() -> None:
    """What the first two do is run in tests/tuning."""
    [shell] = [block for block in BLOCKS if block.language == "sh"]
    lines = shell.text.splitlines()
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["predictd", "tune"]
        assert tune.make_context("tune", words[2:]).params["model"] in {"digits", "models/digits.keras"}


def test_what_it_shows_as_written_is_valid(tmp_path: Path) -> None:
    [toml] = [block for block in BLOCKS if block.language == "toml"]
    (tmp_path / "tuned.toml").write_text(toml.text)
    settings = load_settings(flags={}, models=(), environ={}, config=str(tmp_path / "tuned.toml"))
    [model] = settings.models
    assert model.batch_sizes == (1, 3, 5, 7, 10, 14, 19, 25, 32)
    assert settings.intra_op_threads == 1


def test_the_table_has_the_columns_that_are_printed() -> None:
    [table] = [block for block in BLOCKS if block.language == "text"]
    printed = outcome_table(Found((), Variant(), {1: 1.0}))
    assert re.split(r"\s{2,}", table.text.splitlines()[0]) == re.split(r"\s{2,}", printed)


def test_all_that_is_tried_is_in_the_page_s_table() -> None:
    named = re.findall(r"^\| `(\w+)` \| the (?:model|server) \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(TUNABLE)
