"""The Django example's processes look for results by themselves, and whoever waits for one in them still can."""

from __future__ import annotations

import pytest

from tests.client.fake_process import run_program

pytestmark = [pytest.mark.integration, pytest.mark.redis]

#: Two threads that enqueue at a time: the one that began first is done first, in the middle of the other.
PROGRAM = """
import os, sys, threading
os.environ.update(
    DJANGO_SETTINGS_MODULE="examples.django_digits.settings", DJANGO_DEBUG="1", PREDICTD_BROKER_URL=sys.argv[1]
)
import django
from django.test import Client
django.setup()
from examples.django_digits.celery import app

amqp, send = app.amqp, app.amqp.send_task_message
turn, both_are_in, first_is_done = iter(range(2)), threading.Barrier(2), threading.Event()
client = Client(headers={"host": "127.0.0.1"})
answers = []

def held(*arguments, **options):
    number = next(turn)
    both_are_in.wait(30)
    if number == 1:
        assert first_is_done.wait(30)
    return send(*arguments, **options)

def draw():
    sent = client.post("/drawings/", {"strokes": [[[0, 0], [0, 100]]]}, content_type="application/json")
    answers.append(sent.json()["answer"])
    first_is_done.set()

amqp.send_task_message = held
threads = [threading.Thread(target=draw) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

print("subscriptions", app.backend.client.pubsub_channels("celery-task-meta-*"))
task_id = answers[0].strip("/").split("/")[1]
app.backend.store_result(task_id, 7, "SUCCESS")
print("got", app.AsyncResult(task_id).get(timeout=30))
"""


def test_threads_that_enqueue_subscribe_to_nothing_and_keep_nobody_from_waiting(redis_url: str) -> None:
    ran = run_program(PROGRAM, f"{redis_url.rpartition('/')[0]}/14")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["subscriptions []", "got 7"]
