"""Headless Chromium on the Django example's page: it draws with real mouse, touch and key events, and reads.

Owns the browser's process, and what is where on the page. The test's thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import wait_until

FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1000,900")
SHEET = ".sheet canvas"
STATUS = ".answer .status"
#: Of it, what a screen reader reads out.
WORDS = ".answer .status [role=status]"


class Browser:
    """One browser window.

    Args:
        chromium: The browser's path.
        driver: Its driver's; named, so that selenium looks for none and downloads none.
        profile: A directory of its own.
    """

    def __init__(self, chromium: str, driver: str, profile: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    def open(self, url: str) -> None:
        """Show a page."""
        self.driver.get(url)

    def forget(self) -> None:
        """Become a new visitor with a window of the usual size."""
        self.driver.get("about:blank")
        for command in ("Network.clearBrowserCookies", "Emulation.clearDeviceMetricsOverride"):
            self.driver.execute_cdp_cmd(command, {})
        self.driver.get_log("browser")

    def find(self, selector: str) -> WebElement:
        """Return what a CSS selector names."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all that it names."""
        return [element.text for element in self.driver.find_elements(By.CSS_SELECTOR, selector)]

    def run(self, script: str) -> Any:
        """Run JavaScript in the page, as its console does."""
        return self.driver.execute_script(script)

    def click(self, selector: str) -> None:
        """Click on something."""
        self.find(selector).click()

    def size(self) -> int:
        """Return the sheet's width and height, in pixels."""
        return int(self.find(SHEET).size["width"])

    def draw(self, strokes: Sequence[np.ndarray], kind: str = "mouse") -> None:
        """Draw on the sheet with a mouse or a finger ("touch")."""
        sheet, half = self.find(SHEET), self.size() / 2
        for stroke in strokes:
            (x, y), *others = [(int(x - half), int(y - half)) for x, y in stroke]
            actions = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=1)
            pen = actions.pointer_action.move_to(sheet, x, y).pointer_down()
            for x, y in others:
                pen.move_to(sheet, x, y)
            pen.pointer_up()
            actions.perform()

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.driver, duration=1).send_keys(*keys).perform()

    def status(self) -> tuple[str, str]:
        """Return how things stand ("done", "failed", ...), and the words for it."""
        state = self.find(STATUS).get_attribute("class") or ""
        return state.removeprefix("status").strip(), self.find(WORDS).text

    def wait_for(self, state: str) -> str:
        """Wait until things stand so; return the words for it."""
        wait_until(lambda: self.status()[0] == state, what=f"the page says {state!r}, and not {self.status()}")
        return self.status()[1]

    def complaints(self) -> list[str]:
        """Return what the browser's console has complained of."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]


@contextlib.contextmanager
def required_browser() -> Iterator[Browser]:
    """Run a browser as long as the block lasts; skip the test where none is installed, and fail it in CI."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        text = "no chromium and chromedriver on PATH: as root, scripts/install_chromium.sh (apt) installs both"
        assert not os.environ.get("CI"), text
        pytest.skip(text)
    with tempfile.TemporaryDirectory(prefix="pd-browser-") as profile:
        browser = Browser(chromium, driver, profile)
        try:
            yield browser
        finally:
            browser.driver.quit()
