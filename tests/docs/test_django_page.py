"""docs/django.md: its project refuses what it should, and says 503 where Redis is away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.client.fake_process import with_paths
from tests.conftest import CHECKOUT
from tests.docs.pages import blocks_of, output_of, write_files

pytestmark = pytest.mark.integration

PROGRAM = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django
from celery.exceptions import TaskRevokedError
from django.conf import settings
settings.CELERY_BROKER_URL = settings.CELERY_RESULT_BACKEND = "redis://127.0.0.1:1/0"
django.setup()
from django.test import Client
from mysite.celery import app

client = Client(headers={"host": "127.0.0.1"})
stranger = Client(enforce_csrf_checks=True, headers={"host": "127.0.0.1"})
UUID = "6f1b1c6e-3f1c-4d5e-9d6e-0d3d1d7e8f00"

def post(body, kind="application/json", sender=client):
    return sender.post("/drawings/", body, content_type=kind).status_code

print("without a token", post([0.5] * 64, sender=stranger))
print("a form", post(b"", "multipart/form-data; boundary=-", stranger))
print("another host", Client(headers={"host": "example.com"}).get(f"/answers/{UUID}/").status_code)
print("too much", post("1" * 100_000))
for body in (" ", "{", "7", "[1]", '{"a": 1}', "[[]]", "[" * 10_000):
    print("nonsense", post(body))
for value in ("NaN", "2", '"x"', str(10**400)):
    print("nonsense", post(f"[{', '.join([value] * 64)}]"))
print("Redis is away", post([0.5] * 64), client.get(f"/answers/{UUID}/").status_code)
app.conf.result_backend = "cache+memory://"
del app._local.backend
for state in ("REVOKED", "FAILURE", "RETRY"):
    app.backend.store_result(UUID, TaskRevokedError("expired"), state)
    print(state, client.get(f"/answers/{UUID}/").status_code)
"""


def test_what_the_project_answers(tmp_path: Path) -> None:
    write_files(blocks_of(CHECKOUT / "docs" / "django.md"), tmp_path)
    environment = {**with_paths(), "DJANGO_SECRET_KEY": "a test's"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    said = output_of([sys.executable, "-c", PROGRAM], tmp_path, environment).splitlines()
    assert said == [
        "without a token 403",
        "a form 415",
        "another host 400",
        "too much 400",
        *["nonsense 400"] * 11,
        "Redis is away 503 503",
        "REVOKED 504",
        "FAILURE 502",
        "RETRY 202",
    ]
