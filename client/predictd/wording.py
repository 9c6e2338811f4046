"""How errors and durations are put into words.

Owns the few phrases that several modules share. Any thread.
"""

from __future__ import annotations

from predictd_proto.errors import PredictdError


def seconds_text(milliseconds: float) -> str:
    """Return a duration as a person reads it."""
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"  # noqa: PLR2004


def restated(error: PredictdError, message: str) -> PredictdError:
    """Return an error of the same class and facts with another text."""
    return type(error)(message, error.detail)
