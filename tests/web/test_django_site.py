"""The Django example asked without its page: what it refuses, what it sends along, and how well it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from django.conf import global_settings as settings

import predictd
from examples.django_digits.drawing import picture
from examples.django_digits.handwriting import samples
from tests.client.fake_process import run_program
from tests.pools.program import Program, python
from tests.web.conftest import Demo
from tests.web.drawings import DRAWING, TOKEN, post
from tests.web.web_server import WebServer

pytestmark = [pytest.mark.integration, pytest.mark.redis]

#: With a file that Django would put on the disk.
FORM = b"".join(
    [
        b'---\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n',
        b"x" * (settings.FILE_UPLOAD_MAX_MEMORY_SIZE + 1),
        b"\r\n-----\r\n",
    ]
)


@pytest.fixture(scope="module")
def site(idle_queue: str, start_runserver: Callable[[str], WebServer]) -> WebServer:
    """The site before a queue that nobody serves."""
    return start_runserver(idle_queue)


def test_a_drawing_is_taken_and_can_be_asked_about(site: WebServer) -> None:
    reply = post(site, DRAWING)
    assert reply.status == 202, (reply, site.log)
    assert np.array(reply.json["image"]).shape == (8, 8, 1)
    answer = site.ask(reply.json["answer"])
    assert (answer.status, answer.json["state"]) == (200, "queued")
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "JSON"),
        (b"{}", 400, "expected"),
        (b'{"strokes": []}', 400, "nothing is drawn"),
        (b'{"strokes": [[[NaN, 0]]]}', 400, "points"),
        (b"[" * 20_000, 400, "JSON"),
        (DRAWING + b" " * 70_000, 413, "too large"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_drawing_is_refused_in_words(site: WebServer, body: bytes, status: int, says: str) -> None:
    reply = post(site, body)
    assert (reply.status, reply.json["state"]) == (status, "failed")
    assert says in reply.json["message"]


def test_a_drawing_from_another_site_is_refused(site: WebServer) -> None:
    assert site.ask("/drawings/", DRAWING, Content_Type="application/json").status == 403
    assert post(site, DRAWING, token="y" * 32).status == 403


@pytest.mark.parametrize("token", [TOKEN, "y" * 32], ids=["token", "wrong token"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=-", FORM),
        ("MULTIPART/form-data; boundary=-", FORM),
        ("application/x-www-form-urlencoded", b"strokes=1"),
        ("text/plain", DRAWING),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_posted_is_json(site: WebServer, kind: str, body: bytes, token: str) -> None:
    """Before the CSRF check, which has Django write a form's files to the disk, of any size, to look for a token."""
    reply = post(site, body, token=token, kind=kind)
    assert (reply.status, reply.json["state"]) == (415, "failed"), reply
    assert "expected application/json" in reply.json["message"].lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/drawings/", 405),
        ("DELETE", "/", 403),
        ("GET", "/answers/7/", 404),
        ("GET", "/answers/..%2f..%2f/", 404),
        ("GET", "/elsewhere", 404),
    ],
)
def test_other_questions_are_refused(site: WebServer, method: str, path: str, status: int) -> None:
    assert site.ask(path, method=method).status == status


def test_the_page_loads_nothing_from_elsewhere_and_is_in_no_frame(site: WebServer) -> None:
    page = site.ask("/")
    assert page.status == site.ask("/", method="HEAD").status == 200
    assert page.headers["content-security-policy"] == "default-src 'self'; frame-ancestors 'none'"
    assert page.headers["x-frame-options"] == "DENY"
    assert b"//" not in page.body.replace(b"http://127.0.0.1", b"")
    for name in (b"digits/style.css", b"digits/draw.js", b"digits/icon.svg"):
        assert name in page.body
        assert site.ask(f"/static/{name.decode()}").status == 200


def test_a_queue_that_is_away_is_a_503_at_once(start_runserver: Callable[[str], WebServer]) -> None:
    site = start_runserver("redis://127.0.0.1:1/0")
    replies = [post(site, DRAWING), site.ask("/answers/6f1b1c6e-3f1c-4d5e-9d6e-0d3d1d7e8f00/")]
    assert [(reply.status, reply.headers.get("retry-after")) for reply in replies] == [(503, "2")] * 2


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "DJANGO_SECRET_KEY is not set"),
        ({"DJANGO_SECRET_KEY": "x", "PREDICTD_BROKER_URL": "amqp://127.0.0.1//"}, "PREDICTD_RESULT_URL is not set"),
    ],
    ids=["no key", "no results"],
)
def test_nothing_starts_without_what_it_needs(run_directory: Path, environment: dict[str, str], says: str) -> None:
    program = Program(python("-c", "import examples.django_digits.wsgi"), run_directory, **environment)
    try:
        assert program.process.wait(60) != 0
    finally:
        program.stop()
    assert says in program.log


def test_what_differs_between_sites_comes_from_the_environment() -> None:
    environment = {
        "DJANGO_ALLOWED_HOSTS": "a.example, b.example",
        "DJANGO_DEBUG": "1",
        "DJANGO_QUEUE": "mine",
        "PREDICTD_BROKER_URL": "amqp://127.0.0.1//",
        "PREDICTD_RESULT_URL": "redis://127.0.0.1:1/3",
    }
    program = (
        f"import os; os.environ.update({environment}); from examples.django_digits.celery import app; "
        "from django.conf import settings; conf = app.conf; "
        "print(settings.ALLOWED_HOSTS, conf.task_default_queue, conf.broker_url, conf.result_backend)"
    )
    ran = run_program(program)
    expected = "['a.example', 'b.example'] mine amqp://127.0.0.1// redis://127.0.0.1:1/3\n"
    assert ran.stdout == expected, ran.stderr


@pytest.mark.slow
@pytest.mark.tensorflow
def test_digits_by_hands_that_it_never_saw_are_read(demo: Demo) -> None:
    endpoint = demo.daemon.environ()["PREDICTD_ENDPOINT"]
    drawn = samples(range(1, 21))
    with predictd.Client(endpoint) as client:
        scores = client.predict("digits", np.array([picture(strokes) for _, strokes in drawn])).outputs
    read = scores.argmax(axis=1) == [digit for digit, _ in drawn]
    assert len(read) == 420
    # 418 of them on one machine; another one's arithmetic trains another model.
    assert read.mean() > 0.97
