"""The ready app's settings: from the environment, checked at once, JSON only."""

from __future__ import annotations

import subprocess
import sys

import celery
import pytest

from predictd_celery import RetryPolicy
from predictd_celery.config import celery_settings, max_retries, retry_policy
from predictd_proto.errors import ConfigError


def test_broker_and_results_are_one_redis_unless_told_otherwise() -> None:
    settings = celery_settings({})
    assert settings["broker_url"] == settings["result_backend"] == "redis://127.0.0.1:6379/0"
    settings = celery_settings({"PREDICTD_BROKER_URL": "redis+socket:///run/redis.sock"})
    assert settings["broker_url"] == settings["result_backend"] == "redis+socket:///run/redis.sock"
    assert settings["broker_transport_options"]["visibility_timeout"] == 600


@pytest.mark.parametrize("url", ["redis://127.0.0.1", "redis+socket:///run/redis.sock"])
def test_the_result_backend_can_make_connections(url: str) -> None:
    app = celery.Celery("made", set_as_current=False)
    app.conf.update(celery_settings({"PREDICTD_BROKER_URL": url}))
    assert app.backend.client.connection_pool.make_connection()


def test_what_is_not_acknowledged_is_looked_for_as_often_as_it_is_due() -> None:
    options = celery_settings({})["broker_transport_options"]
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (10, 1)
    options = celery_settings({"PREDICTD_VISIBILITY_TIMEOUT_S": "20"})["broker_transport_options"]
    assert (options["visibility_timeout"], options["unacked_restore_interval"]) == (20, 2)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_wrong_visibility_timeout_names_itself(text: str) -> None:
    with pytest.raises(ConfigError, match=f"PREDICTD_VISIBILITY_TIMEOUT_S: expected a number.*{text!r}"):
        celery_settings({"PREDICTD_VISIBILITY_TIMEOUT_S": text})


def test_other_brokers_answer_through_themselves() -> None:
    settings = celery_settings({"PREDICTD_BROKER_URL": "amqp://guest@localhost//"})
    assert settings["result_backend"] == "rpc://"
    assert settings["broker_transport_options"] == {}
    settings = celery_settings({"PREDICTD_BROKER_URL": "amqp://a", "PREDICTD_RESULT_URL": "redis://b"})
    assert settings["result_backend"] == "redis://b"


def test_json_goes_out_and_nothing_that_unpickles_comes_in() -> None:
    settings = celery_settings({})
    assert settings["task_serializer"] == settings["result_serializer"] == "json"
    assert settings["accept_content"] == ["json", "predictd"]


def test_retries_are_read_and_checked() -> None:
    assert retry_policy({"PREDICTD_TASK_MAX_RETRY_DELAY_S": "1.5"}).max_delay_s == 1.5
    assert retry_policy({}) == RetryPolicy()
    assert max_retries({"PREDICTD_TASK_MAX_RETRIES": "3"}) == 3
    assert max_retries({}) == 10


@pytest.mark.parametrize("text", ["many", "-1", "1.5"])
def test_a_wrong_number_of_retries_names_itself(text: str) -> None:
    with pytest.raises(ConfigError, match=f"PREDICTD_TASK_MAX_RETRIES: expected a whole number .* got {text!r}"):
        max_retries({"PREDICTD_TASK_MAX_RETRIES": text})


@pytest.mark.parametrize("text", ["long", "7200", "nan"])
def test_a_wrong_longest_delay_names_itself(text: str) -> None:
    with pytest.raises(ConfigError, match="PREDICTD_TASK_MAX_RETRY_DELAY_S: "):
        retry_policy({"PREDICTD_TASK_MAX_RETRY_DELAY_S": text})


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_makes_no_app_and_the_app_is_nobody_s_current_one() -> None:
    code = """
import sys, celery
mine = celery.Celery("mine")
import predictd_celery
assert "predictd_celery.application" not in sys.modules
app = predictd_celery.app
import predictd_celery.application, predictd_celery.tasks
assert predictd_celery.app is app, predictd_celery.app
assert celery.current_app._get_current_object() is mine
assert predictd_celery.predict.app is app and predictd_celery.predict.name == "predictd.predict"
assert "predictd.predict" in mine.tasks
print("fine")
"""
    assert run_python(code) == "fine"


def test_importing_opens_nothing_and_imports_no_tensorflow() -> None:
    code = """
import os, sys, threading
import predictd_celery
predictd_celery.app, predictd_celery.predict.name, predictd_celery.PredictTask
assert threading.active_count() == 1, threading.enumerate()
links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
assert not [link for link in links if os.path.lexists(link) and "socket" in os.readlink(link)]
assert not {"tensorflow", "keras", "h5py"} & {name.partition(".")[0] for name in sys.modules}
print("fine")
"""
    assert run_python(code) == "fine"
