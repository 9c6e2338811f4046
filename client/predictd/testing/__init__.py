"""Fakes of predictd for your own tests: no daemon, no TensorFlow, no model files.

    from predictd.testing import FakeModel, fake_server, in_process

    digits = FakeModel("digits", inputs=("float32", (None, 64)), outputs=("float32", (None, 10)))

    def test_the_task():
        with fake_server(digits) as server:             # real sockets: any process finds it
            classify.delay(pixels).get(timeout=10)
            server.assert_asked("digits", times=1)

    def test_a_busy_daemon():
        with in_process(digits) as server:              # this process alone: no sockets, no threads
            with server.faults.overload(times=2):
                assert view(request).status_code == 200

With pytest: `pytest_plugins = ["predictd.testing.pytest_plugin"]`. `docs/testing.md` shows all of it.

Never imported by `import predictd`.
"""

from __future__ import annotations

from predictd.testing.answers import WrongAnswerError
from predictd.testing.cassettes import record, replay
from predictd.testing.daemon import FakeServer
from predictd.testing.fake_process import FakeProcess
from predictd.testing.fault import Fault
from predictd.testing.faults import Faults
from predictd.testing.homes import new_endpoint
from predictd.testing.models import FakeModel, FakeSignature
from predictd.testing.request_log import SeenRequest
from predictd.testing.serving import fake_server, in_process

__all__ = [
    "FakeModel",
    "FakeProcess",
    "FakeServer",
    "FakeSignature",
    "Fault",
    "Faults",
    "SeenRequest",
    "WrongAnswerError",
    "fake_server",
    "in_process",
    "new_endpoint",
    "record",
    "replay",
]
