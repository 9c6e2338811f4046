"""Where no browser is installed, a desk leaves its tests out and CI fails; either says what to do."""

from __future__ import annotations

import shutil

import pytest

from tests.web.browser import required_browser


def test_a_missing_browser_skips_at_a_desk_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"scripts/install_chromium\.sh"), required_browser():
        pass
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match=r"scripts/install_chromium\.sh"), required_browser():
        pass
