"""What the web examples' tests share: the Django demo as a person starts it, and a browser."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.daemon_process import short_directory
from tests.pools.program import Program, python
from tests.ports import free_port
from tests.web.browser import Browser, required_browser
from tests.web.web_server import WebServer

#: A terminal's Ctrl-C is heard whatever started the tests: a shell's `&` has SIGINT ignored, and children inherit that.
AT_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('examples.django_digits.demo', run_name='__main__', alter_sys=True)"
)
#: What the shell of somebody who works on another site has; none of it is the demo's.
A_DEVELOPERS = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "DJANGO_ALLOWED_HOSTS": "example.com",
    "DJANGO_SETTINGS_MODULE": "elsewhere.settings",
    "GUNICORN_CMD_ARGS": "--no-such-option",
}


class Demo(Program):
    """`make demo-django`, when it has printed its address.

    Args:
        directory: Where its log is.
        environment: More of the environment.
    """

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port = free_port()
        super().__init__(
            python("-c", AT_A_TERMINAL, "--port", str(self.port), "--away-s", "3"), directory, **environment
        )
        try:
            self.wait_until(lambda: "kill -9 " in self.log, "it serves")
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The page that it names."""
        (url,) = re.findall(r"http://\S+", self.log)
        return str(url)

    @property
    def daemon(self) -> psutil.Process:
        """The daemon that runs, by what it prints; waited for while it is being started again."""

        def printed() -> int:
            return int(re.findall(r"kill -9 (\d+)", self.log)[-1])

        self.wait_until(lambda: psutil.pid_exists(printed()), "its daemon is back")
        return psutil.Process(printed())

    def ctrl_c(self) -> int:
        """End it as a person does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def demo_broker(redis_url: str) -> str:
    """A database that no other test uses."""
    return f"{redis_url.rpartition('/')[0]}/0"


@pytest.fixture(scope="session")
def idle_queue(redis_url: str) -> str:
    """A broker's address with no worker behind it."""
    return f"{redis_url.rpartition('/')[0]}/15"


@pytest.fixture(scope="session")
def demo(demo_broker: str) -> Iterator[Demo]:
    """The demo under gunicorn: its training, daemon, worker and site."""
    with short_directory() as name:
        demo = Demo(Path(name), PREDICTD_BROKER_URL=demo_broker, **A_DEVELOPERS)
        try:
            yield demo
            family = demo.family()
            assert demo.ctrl_c() == 130, demo.log
            assert "Stopped. Every process that was started is being ended." in demo.log
            assert not [member for member in family if member.is_running()], family
        finally:
            demo.stop()


@pytest.fixture(scope="session")
def start_runserver() -> Iterator[Callable[..., WebServer]]:
    """Start Django's own server on a broker: `start_runserver(url)`; one for each, and it ends with the session."""
    started: dict[str, WebServer] = {}
    with short_directory() as name:

        def start(broker_url: str, **environment: str) -> WebServer:
            if broker_url not in started:
                started[broker_url] = WebServer(
                    lambda port: python("-m", "examples.django_digits.manage", "runserver", str(port)),
                    Path(name),
                    PREDICTD_BROKER_URL=broker_url,
                    DJANGO_DEBUG="1",
                    **environment,
                )
            return started[broker_url]

        yield start
        for server in started.values():
            server.stop()


@pytest.fixture(scope="session", params=["gunicorn", "runserver"])
def site(
    request: pytest.FixtureRequest, demo: Demo, demo_broker: str, start_runserver: Callable[..., WebServer]
) -> str:
    """The address of the site, before the demo's worker and daemon."""
    if request.param == "gunicorn":
        return demo.url
    return f"{start_runserver(demo_broker, DJANGO_QUEUE=demo.daemon.environ()['DJANGO_QUEUE']).url}/"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless browser; skipped without one, failed without one in CI."""
    with required_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The browser as a new visitor has it."""
    chromium.forget()
    return chromium
