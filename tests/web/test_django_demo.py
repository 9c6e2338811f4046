"""`make demo-django` tells of mistakes before it trains anything."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from tests.pools.program import Program, python
from tests.ports import free_port
from tests.web.drawings import DRAWING, post
from tests.web.web_server import WebServer

pytestmark = pytest.mark.integration


DEMO = ("-m", "examples.django_digits.demo")


def end_of(run_directory: Path, *options: str, demo: tuple[str, ...] = DEMO, **environment: str) -> tuple[int, str]:
    program = Program(python(*demo, *options), run_directory, **environment)
    try:
        return program.process.wait(100), program.log
    finally:
        program.stop()


def test_a_port_that_is_taken_is_told_with_what_to_do(run_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = end_of(run_directory, "--port", str(port))
    assert code == 2
    assert f"port {port} can't be had (Address already in use)" in said
    assert "ARGS='--port 8123'" in said


@pytest.mark.parametrize("port", ["0", "70000", "-1"])
def test_a_port_that_is_none_is_told(run_directory: Path, port: str) -> None:
    code, said = end_of(run_directory, f"--port={port}")
    assert (code, said) == (2, f"make demo-django: --port {port}: expected 1 to 65535\n")


def test_a_broker_that_is_not_there_is_told(run_directory: Path) -> None:
    code, said = end_of(run_directory, f"--port={free_port()}", PREDICTD_BROKER_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert "Connection refused" in said
    assert "unset PREDICTD_BROKER_URL" in said


#: The demo with a fake in the place of the model: nothing to train, and no TensorFlow.
FAKE = """
import sys
from examples.django_digits import demo
demo.train = lambda *arguments: None
serve = ("predictd.testing", "serve", "tests.web.fake_digits:DIGITS")
demo.start_predictd = lambda stage: stage.start_python("predictd", *serve)
sys.exit(demo.main())
"""


@pytest.mark.redis
def test_under_runserver_it_serves_and_a_worker_that_ends_ends_it(run_directory: Path, redis_url: str) -> None:
    site = WebServer(
        lambda port: python("-c", FAKE, "--server", "runserver", "--port", str(port)),
        run_directory,
        PREDICTD_BROKER_URL=f"{redis_url.rpartition('/')[0]}/13",
    )
    try:
        answer = post(site, DRAWING).json["answer"]
        site.wait_until(lambda: site.ask(answer).json["state"] == "done", "the drawing is read")
        family = site.family()
        (ended,) = [one for one in psutil.Process(site.process.pid).children() if "worker" in one.cmdline()]
        ended.terminate()
        assert site.process.wait(60) == 1
        assert "It did not work: worker has ended" in site.log
        assert "the end of worker's log" in site.log
        assert not [member for member in family if member.is_running()]
    finally:
        site.stop()


def test_redis_that_is_not_installed_is_told(run_directory: Path) -> None:
    program = (
        "import os, runpy; from scripts import redis_server; redis_server.PACKAGED = {}; os.environ['PATH'] = ''; "
        "runpy.run_module('examples.django_digits.demo', run_name='__main__')"
    )
    code, said = end_of(run_directory, f"--port={free_port()}", demo=("-c", program))
    assert code == 1, said
    assert "apt-get install redis-server" in " ".join(said.split()), said
