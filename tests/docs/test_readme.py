"""The README: its commands and code blocks are run word by word, and its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import predictd
from predictd_proto.errors import ERROR_CLASSES, RetryableError
from scripts.settings_table import TABLES, with_tables
from tests.conftest import CHECKOUT
from tests.daemon_process import clean_environment
from tests.docs import pages

README = pages.README.read_text(encoding="utf-8")
BLOCKS = pages.blocks_of(pages.README)


def block(language: str, word: str) -> str:
    """Return the only block of a language that holds a word."""
    found = [block.text for block in BLOCKS if block.language == language and word in block.text]
    assert len(found) == 1, f"{len(found)} blocks of {language} hold {word!r}"
    return found[0]


def test_every_block_is_known_to_these_tests() -> None:
    kinds = sorted(block.language for block in BLOCKS)
    assert kinds == ["diff", "ini", *["python"] * 6, *["sh"] * 3, "toml"]


@pytest.mark.parametrize("page", sorted({page for page, _ in TABLES}))
def test_the_settings_tables_are_the_code_s(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    assert with_tables(page, text) == text, "run: python scripts/settings_table.py"


def test_the_error_table_is_the_code_s() -> None:
    section = README.split("## Errors and retries")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (yes|no) \|", section, flags=re.MULTILINE)
    classes = {cls.__name__: cls for cls in ERROR_CLASSES.values()}
    for names, retryable in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert issubclass(classes[name], RetryableError) == (retryable == "yes"), name
            assert hasattr(predictd, name), name


@pytest.fixture
def workplace(run_directory: Path):
    """A directory with the README's files, an environment as a user's, and processes that end with the test."""
    pages.write_files(BLOCKS, run_directory)
    environment = clean_environment(XDG_RUNTIME_DIR=str(run_directory), TF_CPP_MIN_LOG_LEVEL="3")
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    started: list[subprocess.Popen] = []

    def run(command: str) -> str:
        return pages.output_of(["bash", "-ec", command], run_directory, environment)

    def start(command: str) -> subprocess.Popen:
        started.append(subprocess.Popen(["bash", "-ec", f"exec {command}"], cwd=run_directory, env=environment))
        return started[-1]

    yield run, start, environment
    for process in reversed(started):
        process.terminate()
        process.wait(60)


@pytest.mark.integration
@pytest.mark.slow
def test_the_quickstart_and_the_configuration_file_word_by_word(workplace) -> None:
    run, start, _ = workplace
    make, serve = block("sh", "predictd serve digits.keras").strip().splitlines()
    run(make)
    start(serve)
    shown = run(block("sh", "predictd status --wait"))
    assert "(1000, 10)" in shown
    assert "digits" in shown
    assert run("python many.py").split() == ["100", "1000"]
    second = start("predictd serve --config predictd.toml --endpoint ipc://$XDG_RUNTIME_DIR/second.sock")
    shown = run("predictd status --wait 60 --endpoint ipc://$XDG_RUNTIME_DIR/second.sock --json")
    assert '"predictd.toml' in shown or "file predictd.toml" in shown
    second.terminate()
    assert second.wait(60) == 0


@pytest.mark.integration
@pytest.mark.redis
@pytest.mark.slow
def test_the_celery_section_word_by_word(workplace, redis_url: str) -> None:
    run, start, environment = workplace
    environment["PREDICTD_BROKER_URL"] = redis_url
    run("python make_model.py")
    start("predictd serve digits.keras")
    run("predictd status --wait 60")
    start(block("sh", "celery -A").strip())
    assert "[[" in run("python enqueue.py")
    tasks = Path(environment["XDG_RUNTIME_DIR"]) / "tasks.py"
    tasks.write_text(tasks.read_text().replace("redis://127.0.0.1:6379/0", redis_url))
    start("celery -A tasks worker --concurrency 2")
    answer = run("python -c 'import tasks; print(tasks.classify.delay([0.0] * 64).get(timeout=60))'")
    assert 0 <= int(answer) < 10


@pytest.mark.integration
def test_the_tests_that_the_readme_shows_pass_without_a_daemon(workplace) -> None:
    run, _, _ = workplace
    assert "1 passed" in run("python -m pytest -q test_digits.py")


def test_the_systemd_unit_names_what_there_is() -> None:
    unit = block("ini", "ExecStart")
    assert "predictd serve --config" in unit
    assert "PREDICTD_ENDPOINT=ipc://" in unit
