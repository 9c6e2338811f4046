"""The ready app's settings: from the environment, checked at once, JSON only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from predictd_celery.config import celery_settings, retry_policy
from predictd_proto.errors import ConfigError


def test_broker_and_results_are_one_redis_unless_told_otherwise() -> None:
    settings = celery_settings({})
    assert settings["broker_url"] == settings["result_backend"] == "redis://127.0.0.1:6379/0"
    settings = celery_settings({"PREDICTD_BROKER_URL": "redis+socket:///run/redis.sock"})
    assert settings["broker_url"] == settings["result_backend"] == "redis+socket:///run/redis.sock"
    assert settings["broker_transport_options"] == {"visibility_timeout": 600}


def test_other_brokers_answer_through_themselves() -> None:
    settings = celery_settings({"PREDICTD_BROKER_URL": "amqp://guest@localhost//"})
    assert settings["result_backend"] == "rpc://"
    assert settings["broker_transport_options"] == {}
    settings = celery_settings({"PREDICTD_BROKER_URL": "amqp://a", "PREDICTD_RESULT_URL": "redis://b"})
    assert settings["result_backend"] == "redis://b"


def test_nothing_but_json_comes_in_or_goes_out() -> None:
    settings = celery_settings({})
    assert settings["accept_content"] == [settings["task_serializer"]] == [settings["result_serializer"]] == ["json"]


def test_the_retry_policy_is_read_and_checked() -> None:
    policy = retry_policy({"PREDICTD_TASK_MAX_RETRIES": "3", "PREDICTD_TASK_MAX_RETRY_DELAY_S": "1.5"})
    assert (policy.max_retries, policy.max_delay_s) == (3, 1.5)
    assert retry_policy({}).max_retries == 10


@pytest.mark.parametrize(
    "environ", [{"PREDICTD_TASK_MAX_RETRIES": "many"}, {"PREDICTD_TASK_MAX_RETRY_DELAY_S": "7200"}]
)
def test_a_wrong_retry_setting_names_itself(environ) -> None:
    with pytest.raises(ConfigError, match=next(iter(environ))):
        retry_policy(environ)


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
