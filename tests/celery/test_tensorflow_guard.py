"""Who imports TensorFlow in a worker is named, or kept from it; others are left alone. It is an empty package here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from predictd_celery.config import tensorflow_guard_mode
from predictd_proto.errors import ConfigError
from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import clean_environment
from tests.logged_process import search_path

SHOP = "import celery, predictd_celery.base_task\napp = celery.Celery('shop', broker='memory://', backend='cache+memory://')\n"
WAKE = """
import logging, sys
from predictd_celery.base_task import GUARD
from celery.signals import celeryd_after_setup, celeryd_init, worker_process_init
logging.basicConfig(format="%(levelname)s %(message)s")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose `tensorflow` is empty, and whose `keras` imports it."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("from tensorflow.inner import answer\n")
    (tmp_path / "tensorflow" / "inner.py").write_text("answer = 42\n")
    (tmp_path / "tensorflow" / "data.txt").write_text("a resource")
    (tmp_path / "keras.py").write_text("import tensorflow\n")
    (tmp_path / "training.py").write_text("def train():\n    import keras\n")
    return tmp_path


def run(folder: Path, *arguments: str, guard: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in the folder, with TensorFlow's import guarded as told."""
    environment = clean_environment(PYTHONPATH=search_path(), PREDICTD_TENSORFLOW_GUARD=guard)
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


def said(folder: Path, code: str, guard: str = "") -> str:
    """Run a program that must end well; return what it said."""
    ran = run(folder, "-c", WAKE + code, guard=guard)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def test_outside_a_worker_nothing_is_said_and_nothing_is_changed(folder: Path) -> None:
    code = """
import importlib.resources, importlib.util, inspect
assert importlib.util.find_spec("tensorflow").origin.endswith("tensorflow/__init__.py")
assert "tensorflow" not in sys.modules and GUARD.importer is None
import tensorflow, training
assert tensorflow.answer == 42
assert type(tensorflow.__loader__) is type(tensorflow.__spec__.loader) is type(training.__loader__)
assert importlib.resources.files("tensorflow").joinpath("data.txt").read_text() == "a resource"
assert "answer" in inspect.getsource(tensorflow)
assert GUARD.importer.startswith("__main__ (<string>, line "), GUARD.importer
"""
    assert said(folder, code, "refuse") == ""


def test_a_finder_of_old_without_find_spec_is_passed_over(folder: Path) -> None:
    code = """
class Old:
    def find_module(self, name, path=None):
        return None

sys.meta_path.insert(1, Old())
import tensorflow
assert tensorflow.answer == 42
"""
    assert said(folder, code) == ""


def test_in_a_worker_the_importing_module_is_named_once(folder: Path) -> None:
    code = """
worker_process_init.send(sender="a child")
import training, importlib.util
importlib.util.find_spec("tensorflow")
training.train(); training.train()
import os
os.environ["PREDICTD_TENSORFLOW_GUARD"] = "off"
worker_process_init.send(sender="a child")
del sys.modules["tensorflow"], sys.modules["keras"]
training.train()
"""
    (line,) = said(folder, code).splitlines()
    assert line.startswith("WARNING TensorFlow was imported in a Celery worker (pid ")
    assert f"by training ({folder}/training.py, line 2), by way of keras. " in line
    assert "PREDICTD_TENSORFLOW_GUARD=refuse forbids such imports" in line


def test_refused_it_is_an_import_error_that_says_why(folder: Path) -> None:
    code = """
celeryd_init.send(sender="a worker")
import training
for _ in range(2):
    try:
        training.train()
    except ImportError as error:
        assert error.name == "tensorflow"
        print(error)
    assert not {"tensorflow", "keras"} & sys.modules.keys()
"""
    first, second = said(folder, code, "refuse").splitlines()
    assert first == second
    assert f"by training ({folder}/training.py, line 2)" in first
    assert first.endswith("PREDICTD_TENSORFLOW_GUARD=refuse forbids it.")


def test_an_import_before_the_worker_began_is_told_when_it_begins(folder: Path) -> None:
    code = """
import training
training.train()
GUARD._warn_in_parent()
GUARD.importer = None
GUARD._warn_in_parent()
"""
    first, second = said(folder, code).splitlines()
    assert "by training (" in first
    assert "by a module that was imported before predictd_celery" in second


def test_where_there_is_no_tensorflow_there_is_none(folder: Path) -> None:
    (folder / "tensorflow" / "__init__.py").unlink()
    (folder / "tensorflow" / "inner.py").unlink()
    code = """
worker_process_init.send(sender="a child")
sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]
import tensorflow
assert tensorflow.__file__ is None, "a folder without __init__.py is a namespace"
del sys.modules["tensorflow"]
sys.path.remove("")
try:
    import tensorflow
except ModuleNotFoundError:
    print("none")
"""
    assert said(folder, code, "refuse") == "none\n"


@pytest.mark.parametrize(
    ("guard", "first_line", "says"),
    [
        ("refuse", "import training; training.train()\n", "by training (.*), by way of keras.*=refuse forbids it"),
        ("maybe", "", "expected one of warn, refuse, off, got 'maybe'"),
    ],
)
def test_a_worker_that_may_not_begin_says_why(folder: Path, guard: str, first_line: str, says: str) -> None:
    (folder / "shop.py").write_text(SHOP + first_line)
    ran = run(folder, "-m", "celery", "-A", "shop", "worker", "--pool", "solo", guard=guard)
    assert ran.returncode == 1
    assert re.search(says, ran.stderr), ran.stderr


@pytest.mark.integration
@pytest.mark.redis
def test_a_real_worker_whose_parent_imports_it_says_so_in_its_log(folder: Path, new_broker_url) -> None:
    (folder / "shop.py").write_text(SHOP.replace("'memory://'", f"'{new_broker_url()}'") + "import tensorflow\n")
    worker = WorkerProcess(folder, new_broker_url(), "ipc:///nowhere/p.sock", app="shop", children=1)
    try:
        worker.wait_for_log(f"by shop ({folder}/shop.py, line 3). ")
        worker.wait_for_log(" ready.")
        assert worker.stop() == 0
    finally:
        worker.kill()
    assert worker.log.count("TensorFlow was imported") == 1


@pytest.mark.parametrize("text", ["", "warn", "refuse", "off"])
def test_the_guard_s_setting(text: str) -> None:
    assert tensorflow_guard_mode({"PREDICTD_TENSORFLOW_GUARD": text}) == (text or "warn")


def test_a_wrong_setting_names_itself() -> None:
    with pytest.raises(ConfigError, match="PREDICTD_TENSORFLOW_GUARD: expected one of warn, refuse, off, got 'on'"):
        tensorflow_guard_mode({"PREDICTD_TENSORFLOW_GUARD": "on"})
