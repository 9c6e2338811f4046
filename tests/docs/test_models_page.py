"""The page on models: its files are made, its commands and configurations are read as the daemon reads them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from predictd_proto.errors import ConfigError
from predictd_server.cli import serve
from predictd_server.models.fields import MODEL_FIELDS
from predictd_server.models.policy import wanted
from predictd_server.models.repository import Repository
from predictd_server.settings import Settings
from predictd_server.settings_sources import load_settings
from tests.conftest import CHECKOUT
from tests.docs.pages import Block, blocks_of
from tests.model_files import keras_file, saved_model

PAGE = CHECKOUT / "docs" / "models.md"
BLOCKS = blocks_of(PAGE)
TOML = [block for block in BLOCKS if block.language == "toml"]
COMMANDS = [
    line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines() if "predictd serve" in line
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page lists."""
    (listed,) = [block.text for block in BLOCKS if block.language == "text" and "models/digits.keras" in block.text]
    for line in listed.splitlines():
        path = tmp_path / line
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".keras":
            keras_file(path)
        elif path.name == "saved_model.pb":
            saved_model(path.parent, exist_ok=True)
        else:
            path.write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def served(settings: Settings) -> dict[str, tuple[int, ...]]:
    repository = Repository(settings.models)
    repository.check(is_watched=settings.watch_s > 0)
    found = repository.look()
    assert repository.refused == ()
    assert not any(model.problems or model.notes for model in found.values())
    return {name: wanted(model) for name, model in found.items()}


def settings_of(block: Block, folder: Path) -> Settings:
    path = folder / (block.file or "unnamed.toml")
    path.write_text(block.text)
    return load_settings(flags={}, models=(), environ={}, config=str(path))


def test_the_page_s_commands_serve_what_it_says(folder: Path) -> None:
    got = []
    for line in COMMANDS:
        words = shlex.split(line)
        environ = dict(word.split("=", 1) for word in words[: words.index("predictd")])
        context = serve.make_context("serve", words[words.index("serve") + 1 :])
        got.append(served(load_settings(flags={}, models=context.params["models"], environ=environ)))
    assert got == [
        {"digits": (1,), "mnist": (2,), "resnet": (1,)},
        {"digits": (1,)},
        {"mnist": (2,)},
        {"numbers": (2,)},
        {"digits": (1,), "numbers": (2,)},
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("labels.toml", {"mnist": (2, 1)}),
        ("predictd.toml", {"digits": (1,), "numbers": (2, 1)}),
        ("directory.toml", {"digits": (1,), "mnist": (2, 1), "resnet": (1,)}),
        ("trusted.toml", {"mnist": (2,)}),
    ],
)
def test_the_page_s_configurations_serve_what_it_says(
    name: str, expected: dict[str, tuple[int, ...]], folder: Path
) -> None:
    (block,) = [block for block in TOML if block.file == name]
    assert served(settings_of(block, folder)) == expected


def test_no_configuration_of_the_page_is_left_out(folder: Path) -> None:
    assert all(settings_of(block, folder).models for block in TOML)


def test_settings_of_one_model_in_a_directory_are_on_top_of_those_of_all(folder: Path) -> None:
    (block,) = [block for block in TOML if block.file == "directory.toml"]
    found = Repository(settings_of(block, folder).models).look()
    assert {name: (it.settings.versions, it.settings.max_batch_size) for name, it in found.items()} == {
        "digits": (2, None),
        "mnist": (2, 8),
        "resnet": (2, None),
    }


def test_the_versions_that_the_page_s_table_names_are_taken(folder: Path) -> None:
    (field,) = [field for field in MODEL_FIELDS if field.name == "versions"]
    rows = re.findall(r"^\| `(\S.*?)`(?: \(the default\))? \| (?:the newest|all|these)", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 4
    for text in rows:
        (folder / "x.toml").write_text(f'[models.mnist]\npath = "models/mnist"\nversions = {text}')
        (model,) = load_settings(flags={}, models=(), environ={}, config="x.toml").models
        assert model.versions == field.check(model.versions, "page")


def test_names_that_the_page_calls_wrong_are(folder: Path) -> None:
    (names,) = re.findall(r"meant as one \((.*?)\)", PAGE.read_text())
    for name in re.findall(r"`(.*?)`", names):
        saved_model(folder / "wrong" / name)
        with pytest.raises(ConfigError, match="no version"):
            Repository(load_settings(flags={}, models=("m=wrong",), environ={}).models).check(is_watched=False)
