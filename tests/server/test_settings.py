"""Settings: one order of sources, every value with its origin, every unknown or inert name an error that says where."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from predictd_proto.errors import ConfigError
from predictd_server.class_entries import CLASS_FIELDS
from predictd_server.cli import let_modules_be_found
from predictd_server.serving.caller_class import CallerClass
from predictd_server.settings import SETTINGS, Settings
from predictd_server.settings_sources import load_settings
from tests.conftest import CHECKOUT


def load(flags=None, models=(), environ=None, config=None) -> Settings:
    return load_settings(flags=flags or {}, models=models, environ=environ or {}, config=config)


def entries(settings: Settings) -> list[tuple[str, Path]]:
    return [(model.name, model.path) for model in settings.models]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "predictd.toml"
    path.write_text(text)
    return str(path)


def test_the_table_and_the_dataclass_name_the_same_settings_with_the_same_defaults() -> None:
    settings = Settings()
    for setting in SETTINGS:
        assert getattr(settings, setting.name) == setting.default
        assert setting.check(setting.default, "default") == setting.default
    assert {setting.name for setting in SETTINGS} | {"models", "classes"} == set(settings.explained())


def test_classes_come_from_the_file_and_are_shown(tmp_path: Path) -> None:
    config = write(tmp_path, '[classes.web]\nweight = 3\npriority = 1\n[classes."images.slow"]\nmax_queue_rows = 100\n')
    settings = load(config=config)
    assert settings.classes == (
        CallerClass(name="web", weight=3.0, priority=1),
        CallerClass(name="images.slow", max_queue_rows=100),
    )
    assert {field.name for field in CLASS_FIELDS} | {"name"} == {field.name for field in fields(CallerClass)}
    shown, origin = settings.explained()["classes"]
    assert origin == f"file {config}"
    assert shown[0] == {"name": "web", "weight": 3.0, "priority": 1, "max_queue_rows": None, "batch_timeout_ms": None}
    assert load(config=write(tmp_path, "priority_wait_ms = 5\n[classes.web]\npriority = 1")).priority_wait_ms == 5.0


def test_a_worker_s_settings_may_stand_beside_the_daemon_s() -> None:
    sources = (CHECKOUT / "celery_app").rglob("*.py")
    names = {name for path in sources for name in re.findall(r"\bPREDICTD_[A-Z_]+", path.read_text(encoding="utf-8"))}
    assert "PREDICTD_CLAIM_STORE" in names
    load(environ=dict.fromkeys(names - {"PREDICTD_ENDPOINT"}, "1"))


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = write(tmp_path, "max_batch_size = 8\nmax_queue_rows = 100\ndrain_timeout_s = 1\n")
    environ = {"PREDICTD_MAX_BATCH_SIZE": "16", "PREDICTD_MAX_QUEUE_ROWS": "200"}
    settings = load({"max_batch_size": 32}, environ=environ, config=config)
    assert (settings.max_batch_size, settings.max_queue_rows, settings.drain_timeout_s) == (32, 200, 1.0)
    explained = settings.explained()
    assert explained["max_batch_size"] == [32, "flag --max-batch-size"]
    assert explained["max_queue_rows"] == [200, "environment PREDICTD_MAX_QUEUE_ROWS"]
    assert explained["drain_timeout_s"] == [1.0, f"file {config}"]
    assert explained["stuck_after_s"] == [120.0, "default"]


def test_the_file_is_named_by_flag_or_environment(tmp_path: Path) -> None:
    config = write(tmp_path, "max_batch_size = 8")
    assert load(environ={"PREDICTD_CONFIG": config}).max_batch_size == 8


def test_paths_of_models_in_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    config = write(tmp_path, '[models]\ndigits = "m/d.keras"\n')
    assert entries(load(config=config)) == [("digits", tmp_path / "m/d.keras")]
    assert entries(load(models=("/a.h5",), config=config)) == [("", Path("/a.h5"))]
    listed = load(environ={"PREDICTD_MODELS": "/a.h5:b=/c.h5"}, config=config)
    assert entries(listed) == [("", Path("/a.h5")), ("b", Path("/c.h5"))]
    shown = [{"path": "/a.h5"}, {"name": "b", "path": "/c.h5"}]
    assert listed.explained()["models"] == [shown, "environment PREDICTD_MODELS"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_bach_size = 8", ["unknown setting max_bach_size", "did you mean max_batch_size?"]),
        ("max_batch_size = '8'", ["max_batch_size = '8'", "a whole number from 1 to 65536"]),
        ("max_batch_size = true", ["a whole number"]),
        ("max_batch_size = 0", ["from 1 to 65536"]),
        ("batch_timeout_ms = nan", ["batch_timeout_ms", "a number from 0"]),
        ("memory_growth = 1", ["true or false"]),
        ("log_level = 'loud'", ["one of debug, info, warning, error"]),
        ("models = 'x'", ['a table of NAME = "PATH"']),
        ("[models]\nx = 3", ["models.x", 'expected "PATH", or a table with path = "PATH" and more, got 3']),
        ("settle_s = 5", ["settle_s = 5.0 has no effect", "watch_s = 0"]),
        ("max_batch_size = ", ["not valid TOML"]),
        ("batch_timeout_ms = 5\nmax_batch_size = 1", ["batch_timeout_ms = 5.0 has no effect"]),
        ("max_batch_size = 64\nmax_queue_rows = 10", ["max_batch_size = 64 has no effect"]),
        ("stuck_after_s = 1\ninline_ms = 1000", ["inline_ms = 1000.0 has no effect"]),
        (
            "max_segment_bytes = 1000\nmax_client_segment_bytes = 2000",
            ["max_client_segment_bytes = 2000 has no effect", "all clients together have max_segment_bytes = 1000"],
        ),
        (
            "max_segments = 3\nmax_client_segments = 4",
            ["max_client_segments = 4 has no effect", "all clients together have max_segments = 3"],
        ),
        ("max_segment_bytes = 0\nmax_segments = 3", ["max_segments = 3 has no effect", "max_segment_bytes = 0 shares"]),
        ("max_segment_bytes = 0\nmax_client_segments = 3", ["max_client_segments = 3 has no effect"]),
        ("max_segment_bytes = 0\nmax_client_segment_bytes = 3", ["max_client_segment_bytes = 3 has no effect"]),
        ("priority_wait_ms = 5", ["priority_wait_ms = 5.0 has no effect", "no class and no model has a priority"]),
        ("classes = 'web'", ["classes: expected a table [classes.NAME]", "'web'"]),
        ("[classes]\nweb = 3", ["classes.web: expected a table", "weight, priority", "got 3"]),
        ("[classes.web]\nweigth = 3", ["classes.web: unknown setting weigth", "did you mean weight?"]),
        ("[classes.web]\nweight = 0", ["classes.web: weight = 0", "a number from 0.001 to 1000"]),
        ("[classes.web]\nweight = 'all'", ["classes.web: weight = 'all'", "a number"]),
        ("[classes.web]\npriority = 1.5", ["classes.web: priority = 1.5", "a whole number from -100 to 100"]),
        ("[classes.web]\npriority = 101", ["classes.web: priority = 101", "from -100 to 100"]),
        ("[classes.web]\nmax_queue_rows = 0", ["classes.web: max_queue_rows = 0", "a whole number from 1"]),
        ("[classes.web]\nmax_queue_rows = 99999", ["classes.web: max_queue_rows = 99999 has no effect", "16384"]),
        ("[classes.web]\nbatch_timeout_ms = -1", ["classes.web: batch_timeout_ms = -1", "a number from 0"]),
        (
            "max_batch_size = 1\n[classes.web]\nbatch_timeout_ms = 5",
            ["classes.web: batch_timeout_ms = 5.0 has no effect"],
        ),
        ("[classes.my.web]\nweight = 2", ["classes.my: unknown setting web", 'classes."NAME.web"']),
        ("[classes.'']\nweight = 2", ["the name of a class is 0 characters long, expected 1 to 256"]),
        ("[classes." + "x" * 257 + "]", ["the name of a class is 257 characters long"]),
    ],
)
def test_a_wrong_file_names_the_setting_and_the_file(tmp_path: Path, text: str, said: list[str]) -> None:
    config = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(config=config)
    assert all(part in str(caught.value) for part in [*said, config]), caught.value


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PREDICTD_MAX_BACH_SIZE": "8"}, ["PREDICTD_MAX_BACH_SIZE", "did you mean PREDICTD_MAX_BATCH_SIZE?"]),
        ({"PREDICTD_TASK_MAX_RETRYS": "3"}, ["PREDICTD_TASK_MAX_RETRYS", "did you mean PREDICTD_TASK_MAX_RETRIES?"]),
        ({"PREDICTD_MAX_BATCH_SIZE": "many"}, ["environment PREDICTD_MAX_BATCH_SIZE", "'many'", "a whole number"]),
        ({"PREDICTD_DETERMINISTIC": "maybe"}, ["true or false"]),
        ({"PREDICTD_CONFIG": "/nowhere/x.toml"}, ["/nowhere/x.toml", "can't be read"]),
        (
            {"PREDICTD_ENDPOINT": "ipc:///a,tcp://b:5"},
            ["environment PREDICTD_ENDPOINT", "'ipc:///a,tcp://b:5'", "a server listens at one", "--endpoint"],
        ),
    ],
)
def test_a_wrong_environment_names_the_variable(environ: dict[str, str], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    assert all(part in str(caught.value) for part in said), caught.value


def test_empty_variables_and_those_of_other_parts_are_left_alone() -> None:
    environ = {"PREDICTD_MAX_BATCH_SIZE": "", "PREDICTD_BROKER_URL": "redis://x", "PATH": "/bin"}
    assert load(environ=environ).max_batch_size == 64


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False), ("ON", True), ("no", False)])
def test_booleans_are_read_as_people_write_them(text: str, value: bool) -> None:
    assert load(environ={"PREDICTD_DETERMINISTIC": text}).deterministic is value


def test_modules_that_models_name_are_found_beside_the_file_after_all_other_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    let_modules_be_found(load(config=write(tmp_path, '[models.m]\npath = "m"')), str(tmp_path / "predictd.toml"))
    assert sys.path == before, "nobody names any"
    settings = load(config=write(tmp_path, '[models.m]\npath = "m"\nmodules = ["layers"]'))
    let_modules_be_found(settings, None)
    assert sys.path == before
    let_modules_be_found(settings, str(tmp_path / "predictd.toml"))
    assert sys.path == [*before, str(tmp_path)]


def test_a_servers_own_endpoint_comes_before_the_clients_list() -> None:
    settings = load(flags={"endpoint": "ipc:///a"}, environ={"PREDICTD_ENDPOINT": "ipc:///a,tcp://b:5"})
    assert settings.endpoint == "ipc:///a"
