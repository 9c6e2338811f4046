"""House rules that no linter knows: size, docstrings, names, and what a file must not mention."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.checkout import FOLDERS, PACKAGES, files, shown

MOST_LINES = 400
# A name that says nothing about what the thing owns.
EMPTY_NAME = re.compile(r"manager|handler|helper|utils?$", re.IGNORECASE)
# Whose machine it was, and where packages were fetched from, is nobody's business.
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users)/[\w.]")
# Put together from pieces, so that no file names one, this one included.
REGISTRY_HOST = re.compile(
    "|".join(
        (
            *map(
                r"\.".join,
                [("py" + "pi", "org"), ("python" + "hosted", "org"), ("np" + "mjs", "(?:org|com)"), ("debian", "org")],
            ),
            "index-" + "url",
        )
    )
)

PYTHON_FILES = [pytest.param(path, id=shown(path)) for path in files(".py")]


@pytest.mark.parametrize("path", PYTHON_FILES)
def test_every_module_says_what_it_is(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), f"{shown(path)} has no module docstring"


@pytest.mark.parametrize("path", PYTHON_FILES)
def test_no_file_grows_past_one_subject(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{shown(path)}: {lines} lines, at most {MOST_LINES}: split it"


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_no_name_is_empty(package: Path) -> None:
    named = [(path, path.stem) for path in sorted(package.rglob("*.py"))]
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named += [(path, node.name) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = [f"{shown(path)}: {name}" for path, name in named if EMPTY_NAME.search(name)]
    assert not found, f"names that say nothing about what they own: {found}"


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_every_package_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file(), f"{shown(package)}/py.typed is missing"


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["path", "registry"])
def test_no_file_tells_of_the_machine_it_was_written_on(pattern: re.Pattern[str]) -> None:
    found = []
    for path in files():
        if path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [
            f"{shown(path)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    assert not found, "\n".join(found)


def test_the_folders_are_looked_at() -> None:
    tops = {shown(path).split("/", maxsplit=1)[0] for path in files(".py")}
    assert {"celery_app", "client", "proto", "server", "tests"} <= tops <= {*FOLDERS}
