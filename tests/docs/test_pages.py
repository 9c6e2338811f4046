"""Every page of docs/: each code block is run, or where only a machine of its own could run it, read by its program.

Named Python files are loaded, tests among them are run by pytest, unnamed blocks are run as programs, all against a
fake daemon that serves what the README serves. Other languages are parsed.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from predictd.testing import FakeModel, fake_server, new_endpoint
from tests.client.fake_process import with_paths
from tests.conftest import CHECKOUT
from tests.docs.pages import PAGES, README, Block, blocks_of, output_of, write_files

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
BUILTINS = {"export", "cd", "exec", "kill", "wait"}
DIGITS = FakeModel(
    "digits",
    inputs={"pixels": ("float32", (None, 64))},
    outputs={"scores": ("float32", (None, 10))},
    labels=["stable"],
    answer=lambda x: x[:, :10],
)


def parsed_ini(text: str) -> None:
    # A configuration's own "%" is no interpolation.
    configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True).read_string(text)


def parsed_toml(text: str) -> None:
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    toml.loads(text)


def parsed_shell(text: str) -> None:
    ran = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for line in re.sub(r"\\\n", " ", text).splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"\w+=", word)]
        if words and words[0] not in BUILTINS:
            beside = Path(sys.executable).with_name(words[0])
            assert beside.exists() or shutil.which(words[0]), f"no such command: {words[0]}"


READERS: dict[str, Callable[[str], object]] = {
    "python": lambda text: compile(text, "block", "exec"),
    "sh": parsed_shell,
    "ini": parsed_ini,
    "toml": parsed_toml,
    "json": json.loads,
    "text": str,
    "diff": str,
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_can_be_read(block: Block) -> None:
    assert block.language in READERS, f"a block of {block.language!r}; expected one of {', '.join(READERS)}"
    READERS[block.language](block.text)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, _, anchor in re.findall(r"\]\((?!http)([^)#]*)(#([^)]*))?\)", text):
        found = page.parent / target if target else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_file_is_shown_twice(page: Path) -> None:
    names = [block.file for block in blocks_of(page) if block.file is not None]
    assert len(set(names)) == len(names), names


@pytest.fixture
def daemon() -> Iterator[str]:
    with fake_server(DIGITS, endpoint=new_endpoint()) as server:
        yield server.endpoint


def run(arguments: list[str], folder: Path, endpoint: str | None) -> str:
    """Run Python in the page's folder, where a daemon is or is none."""
    environment = with_paths()
    environment.pop("PREDICTD_ENDPOINT", None)
    environment["XDG_RUNTIME_DIR"] = str(folder)
    environment["DJANGO_SECRET_KEY"] = "a test's"
    if endpoint is not None:
        environment["PREDICTD_ENDPOINT"] = endpoint
    return output_of([sys.executable, *arguments], folder, environment)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_python_runs(page: Path, tmp_path: Path, daemon: str) -> None:
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    files = write_files(blocks_of(page), tmp_path)
    modules = [path for path in files if path.suffix == ".py" and not is_test(path)]
    for path in modules:
        program = "import runpy, sys; sys.path.insert(0, ''); runpy.run_path(sys.argv[1])"
        run(["-c", program, str(path.relative_to(tmp_path))], tmp_path, daemon)
    for block in blocks:
        if block.file is None:
            run(["-c", block.text], tmp_path, daemon)
    if any(is_test(path) for path in files):
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
        run(command, tmp_path, daemon)
        # What was recorded then needs no daemon now.
        run(command, tmp_path, None)


def is_test(path: Path) -> bool:
    return path.name.startswith("test_") or path.name == "conftest.py"


@pytest.mark.integration
@pytest.mark.slow
def test_the_fakes_of_the_testing_page_are_served_from_a_shell(tmp_path: Path, daemon: str) -> None:
    page = CHECKOUT / "docs" / "testing.md"
    write_files(blocks_of(page), tmp_path)
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_recorded.py"], tmp_path, daemon)
    (shown,) = [block.text for block in blocks_of(page) if "-m predictd.testing serve" in block.text]
    environment = {**with_paths(), "PREDICTD_ENDPOINT": new_endpoint()}
    for line in shown.splitlines():
        command = shlex.split(re.sub(r"ipc://\S+", new_endpoint(), line))[1:]
        with subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        ) as served:
            assert served.stderr is not None
            said = served.stderr.readline()
            served.terminate()
            assert served.wait(60) == 0
        assert said.startswith("<FakeServer at ipc://"), said
        assert said.endswith(": digits, sums>\n" if "fakes:" in line else ": digits>\n"), said
