"""The Django example's page in a real browser: before runserver and gunicorn, a prefork worker, Redis and a daemon."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.backends.redis import RedisBackend
from selenium.webdriver.common.keys import Keys

import predictd
from examples.django_digits.handwriting import written
from tests.redis_process import KeptRedis
from tests.waiting import wait_until
from tests.web.browser import Browser
from tests.web.conftest import Demo
from tests.web.web_server import WebServer

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.slow, pytest.mark.tensorflow]


@pytest.fixture
def results(idle_queue: str) -> Iterator[RedisBackend]:
    """Where tasks' states are kept, to write them in a worker's place."""
    backend = Celery(backend=idle_queue, set_as_current=False).backend
    yield backend
    backend.client.connection_pool.disconnect()


def draw(browser: Browser, digit: int, *, style: int = 0, kind: str = "mouse") -> None:
    browser.draw(written(digit, style, 1, browser.size()), kind)


@pytest.mark.parametrize(("digit", "kind"), [(4, "mouse"), (7, "touch")])
def test_a_drawn_digit_is_recognised(site: str, browser: Browser, digit: int, kind: str) -> None:
    browser.open(site)
    draw(browser, digit, kind=kind)
    browser.click(".primary")
    assert re.fullmatch(rf"This is an? {digit}, with \d+\.\d % certainty\.", browser.wait_for("done"))
    assert browser.texts(".digit") == [str(digit)]
    assert browser.complaints() == []


def test_every_digit_has_a_bar_and_the_answer_a_receipt(site: str, browser: Browser) -> None:
    browser.open(site)
    draw(browser, 5)
    browser.click(".primary")
    browser.wait_for("done")
    percents = [float(text.removesuffix(" %")) for text in browser.texts(".bars .percent")]
    assert len(percents) == 10
    assert sum(percents) == pytest.approx(100, abs=0.6)
    assert percents.index(max(percents)) == 5
    widths = browser.run("return [...document.querySelectorAll('.bar')].map((bar) => parseFloat(bar.style.width))")
    assert widths == pytest.approx(percents, abs=0.06)
    receipt = dict(zip(browser.texts(".receipt dt"), browser.texts(".receipt dd"), strict=True))
    assert (receipt["model version"], receipt["batch rows"]) == ("1", "1")
    for name in ("queued", "executed", "there and back"):
        assert re.fullmatch(r"[\d.]+ ms", receipt[name]), receipt
    seen = "return document.querySelector('.seen').getContext('2d').getImageData(0, 0, 8, 8).data.some((x) => x)"
    assert browser.run(seen)


def test_it_is_drawn_with_the_keyboard_too(demo: Demo, browser: Browser) -> None:
    browser.open(demo.url)
    browser.run("document.querySelector('.sheet canvas').focus()")
    browser.press(*[Keys.ARROW_UP] * 8, Keys.SPACE, *[Keys.ARROW_DOWN] * 16, Keys.SPACE, Keys.ENTER)
    browser.wait_for("done")
    assert browser.texts(".digit") == ["1"]
    browser.press(Keys.ESCAPE)
    assert browser.status()[1] == "Nothing asked yet."
    assert not browser.find(".primary").is_enabled()


def test_a_mouse_takes_over_from_the_keyboard_s_pen(demo: Demo, browser: Browser) -> None:
    browser.open(demo.url)
    browser.run("document.querySelector('.sheet canvas').focus()")
    browser.press(Keys.SPACE)
    (stroke,) = written(1, 0, 1, browser.size())
    browser.draw([stroke])
    dot, line = browser.run("return strokes.map((stroke) => stroke.length)")
    assert dot == 1
    assert line > 5


def test_clear_begins_anew(demo: Demo, browser: Browser) -> None:
    browser.open(demo.url)
    assert not browser.find(".primary").is_enabled()
    draw(browser, 8)
    browser.click(".clear")
    assert not browser.find(".primary").is_enabled()
    draw(browser, 2)
    browser.click(".primary")
    browser.wait_for("done")
    assert browser.texts(".digit") == ["2"]


def test_nothing_is_asked_of_any_other_site(demo: Demo, browser: Browser) -> None:
    browser.open(demo.url)
    asked = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert all(address.startswith(demo.url) for address in asked)


@pytest.mark.parametrize("width", [320, 768, 1600])
def test_it_fits_any_width(demo: Demo, browser: Browser, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.open(demo.url)
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_a_page_that_is_too_old_says_so(demo: Demo, browser: Browser) -> None:
    browser.open(demo.url)
    browser.driver.delete_all_cookies()
    draw(browser, 3)
    browser.click(".primary")
    assert "too old" in browser.wait_for("failed")


def test_a_drawing_that_nobody_takes_is_given_up(
    browser: Browser, idle_queue: str, start_runserver: Callable[[str], WebServer]
) -> None:
    browser.open(start_runserver(idle_queue).url)
    browser.run("document.querySelector('form').dataset.patienceS = 1")
    draw(browser, 3)
    browser.click(".primary")
    assert "No worker took your drawing" in browser.wait_for("failed")


def test_a_queue_that_is_away_is_told(browser: Browser, start_runserver: Callable[[str], WebServer]) -> None:
    browser.open(start_runserver("redis://127.0.0.1:1/0").url)
    draw(browser, 3)
    browser.click(".primary")
    assert "task queue can't be reached" in browser.wait_for("failed")


def test_a_queue_that_falls_silent_is_told(
    browser: Browser, start_runserver: Callable[[str], WebServer], run_directory: Path
) -> None:
    """It takes connections, and says nothing: the page must not have given the site up before it answers."""
    redis = KeptRedis(run_directory)
    try:
        browser.open(start_runserver(redis.url).url)
        draw(browser, 3)
        browser.click(".primary")
        browser.wait_for("queued")
        browser.click(".clear")
        redis.process.send_signal(signal.SIGSTOP)
        draw(browser, 3)
        browser.click(".primary")
        assert "task queue can't be reached" in browser.wait_for("failed")
    finally:
        redis.kill()


# Celery writes results with what redis-py calls deprecated.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_what_it_says_of_a_task_is_true_throughout(
    browser: Browser, idle_queue: str, start_runserver: Callable[[str], WebServer], results: RedisBackend
) -> None:
    """Its states are written here, in place of a worker that meets a busy daemon: retried, started again, retried."""
    browser.open(start_runserver(idle_queue).url)
    draw(browser, 3)
    browser.click(".primary")
    browser.wait_for("queued")
    task_id = looks(browser)[-1].rstrip("/").rpartition("/")[2]

    def says(text: str) -> None:
        wait_until(lambda: text in browser.status()[1], what=f"the page says {text!r}")

    results.store_result(task_id, {}, "STARTED")
    says("The model is asked")
    browser.run("const now = performance.now.bind(performance); performance.now = () => now() + 10_000;")
    says("takes longer than usual")
    results.store_result(task_id, predictd.OverloadedError("x"), "RETRY")
    says("The model is busy")
    results.store_result(task_id, {}, "STARTED")
    made = len(looks(browser))
    # The first of them may have been under way.
    wait_until(lambda: len(looks(browser)) >= made + 2, what="the page looks again")
    says("The model is busy")
    # What is read out doesn't count the seconds.
    assert re.fullmatch(r"\d+ s", browser.find(".status .seconds[aria-hidden=true]").text)
    assert not re.search(r"\d", browser.status()[1])
    receipt = {"version": 1, "batch_rows": 1, "queue_ms": 0.5, "execute_ms": 1.5}
    results.store_result(task_id, {"scores": [0.0] * 3 + [1.0] + [0.0] * 6, "receipt": receipt}, "SUCCESS")
    assert browser.wait_for("done").startswith("This is a 3")
    assert browser.texts(".status .seconds") == [""]


def looks(browser: Browser) -> list[str]:
    asked: list[str] = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    return [address for address in asked if "/answers/" in address]


def test_a_killed_daemon_is_told_and_the_answer_comes_when_it_is_back(demo: Demo, browser: Browser) -> None:
    browser.open(demo.url)
    draw(browser, 6)
    demo.daemon.kill()
    browser.click(".primary")
    # The latter where the machine is so busy that the next daemon is up before the page has looked.
    assert re.search("server is away|is being loaded", browser.wait_for("retrying"))
    browser.wait_for("done")
    assert browser.texts(".digit") == ["6"]
