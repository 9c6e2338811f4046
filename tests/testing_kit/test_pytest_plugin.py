"""The plugin in a small project of its own, run by a pytest of its own, as a user has it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.fake_process import with_paths

pytestmark = pytest.mark.integration

CONFTEST = """
import pytest
from predictd.testing import FakeModel

pytest_plugins = ["predictd.testing.pytest_plugin"]

@pytest.fixture
def predictd_models():
    return [FakeModel("digits", inputs=("float32", (None, 4)), outputs=("float32", (None, 3)), answer=[0.0, 1.0, 0.0])]
"""
APP = """
import predictd

model = predictd.RemoteModel("digits")

def classify(rows):
    return model.predict(rows).argmax(axis=1).tolist()
"""
TESTS = """
import os
import subprocess
import sys

import predictd
import pytest
from app import classify
from predictd.testing import FakeModel

OTHER = FakeModel("digits", inputs=("float32", (None, 4)), outputs=("float32", (None, 3)), answer=[0.0, 0.0, 1.0])
ROWS = [[1.0, 2.0, 3.0, 4.0]] * 2

@pytest.mark.parametrize("turn", range(4))
def test_sockets(predictd_server, turn):
    assert classify(ROWS) == [1, 1]
    predictd_server.assert_asked("digits", times=1, inputs=ROWS)

def test_in_process(predictd_in_process):
    assert classify(ROWS) == [1, 1]
    assert [request.rows for request in predictd_in_process.requests] == [2]

@pytest.mark.predictd_models(OTHER)
def test_models_of_one_test(predictd_server):
    assert classify(ROWS) == [2, 2]

def test_another_process(predictd_server):
    ran = subprocess.run([sys.executable, "-c", "import app; print(app.classify([[0.0] * 4]))"], capture_output=True)
    assert ran.stdout == b"[1]\\n"
    assert len(predictd_server.requests) == 1

def test_faults(predictd_in_process):
    with predictd_in_process.faults.overload(1, times=2):
        assert classify(ROWS) == [1, 1]
    assert len(predictd_in_process.requests) == 3

def test_failover(make_predictd_server):
    first, second = make_predictd_server(OTHER), make_predictd_server(OTHER)
    first.faults.away()
    predictd.RemoteModel("digits", endpoint=[first.endpoint, second.endpoint]).predict(ROWS)
    assert (len(first.requests), len(second.requests)) == (0, 1)

def test_nothing_is_left():
    assert "PREDICTD_ENDPOINT" not in os.environ
"""


def run_project(folder: Path, *arguments: str, **files: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "app.py").write_text(APP)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\npythonpath = .\n")
    environment = with_paths()
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    for name in ("PREDICTD_ENDPOINT", "FORCE_COLOR", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    environment["PY_COLORS"] = "0"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_project_passes(tmp_path: Path) -> None:
    ran = run_project(tmp_path, test_app=TESTS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "10 passed" in ran.stdout


@pytest.mark.parametrize("order", ["-k sockets or in_process", "-k another_process or faults"])
def test_parts_of_it_pass_alone(tmp_path: Path, order: str) -> None:
    ran = run_project(tmp_path, *order.split(" ", 1), test_app=TESTS)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_failures_read_well(tmp_path: Path) -> None:
    failing = """
from app import classify, model
from predictd.testing import FakeModel

def test_wrong_count(predictd_server):
    classify([[1.0, 2.0, 3.0, 4.0]])
    predictd_server.assert_asked("digits", times=2)

def test_wrong_answer(predictd_in_process):
    predictd_in_process.models.get("digits").answer = lambda x: x
    try:
        classify([[1.0, 2.0, 3.0, 4.0]])
    except Exception:
        pass

def test_unknown_model(predictd_in_process):
    predictd_in_process.models.remove("digits")
    classify([[1.0, 2.0, 3.0, 4.0]])
"""
    ran = run_project(tmp_path, "--tb=short", test_failing=failing)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "2 failed, 1 passed, 1 error" in ran.stdout
    assert re.search(
        r"E   AssertionError: expected 2 requests with model='digits', got 1; in all, the fake got 1 request:\n"
        r"E     1\. <request 'digits' .*float32\[1, 4\]: answered>\n",
        ran.stdout,
    )
    assert (
        "E   predictd.testing.answers.WrongAnswerError: fake model 'digits' version 1: its answer for 'output_0' is "
        "float32[1, 4]; the signature declares float32[rows, 3], which is float32[1, 3] for a request of 1 rows. "
        "Correct the fake's answer, or its outputs"
    ) in ran.stdout
    assert "no model 'digits' is served by this fake of predictd.testing; there are: none." in ran.stdout


def test_the_fixtures_are_listed_with_their_words(tmp_path: Path) -> None:
    ran = run_project(tmp_path, "--fixtures", test_app=TESTS)
    for name in ("predictd_server", "predictd_in_process", "predictd_models", "make_predictd_server"):
        assert f"\n{name}" in ran.stdout
    assert "A fake on real sockets: clients of this process and of those that it starts find it." in ran.stdout
    assert (
        "@pytest.mark.predictd_models(*models): what the predictd fixtures" in run_project(tmp_path, "--markers").stdout
    )
