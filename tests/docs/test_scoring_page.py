"""docs/scoring.md: its commands are understood, its program prints what is shown."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np

from predictd.testing import FakeModel, fake_server, new_endpoint
from predictd_celery.scoring.cli import score
from tests.client.fake_process import with_paths
from tests.conftest import CHECKOUT
from tests.docs.pages import blocks_of, output_of

BLOCKS = blocks_of(CHECKOUT / "docs" / "scoring.md")


def test_each_command_is_understood() -> None:
    [shell] = [block for block in BLOCKS if block.language == "sh"]
    for line in shell.text.splitlines():
        words = shlex.split(line, comments=True)
        assert words[:2] == ["predictd", "score"]
        assert score.make_context("score", words[2:]).params["inputs"] == ("rows.csv", "more.npy")


def test_the_program_prints_what_is_shown(tmp_path: Path) -> None:
    [program] = [block for block in BLOCKS if block.language == "python"]
    [shown] = [block for block in BLOCKS if block.language == "text"]
    digits = FakeModel(
        "digits",
        inputs={"pixels": ("float32", (None, 64))},
        outputs={"scores": ("float32", (None, 10))},
        answer=np.zeros((1, 10), np.float32),
    )
    with fake_server(digits, endpoint=new_endpoint()) as server:
        environment = {**with_paths(), "PREDICTD_ENDPOINT": server.endpoint}
        assert output_of([sys.executable, "-c", program.text], tmp_path, environment).strip() == shown.text.strip()
