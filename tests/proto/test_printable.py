"""Text of others on a terminal or in a log: it does nothing there, and stays what it is where it can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_proto.printable import printable


@given(text=st.text(st.characters()))
def test_what_comes_out_is_printable_and_what_was_so_comes_out_as_it_was(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop.digit", "shop.digit"),
        ("café [漢字]", "café [漢字]"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2Jé\x9b", r"\x1b[2Jé\x9b"),
        ("\u2028\u202e\u200b", r"\u2028\u202e\u200b"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_would_do_something_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
