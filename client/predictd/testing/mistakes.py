"""Mistakes of a test in its fake's answers: its clients only see an internal error, its author is told at the end.

Owns the list of them. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable

from predictd.testing.answers import WrongAnswerError


class Mistakes:
    """What was wrong with answers, in the words that their author gets to read.

    Attributes:
        tell: Told each new one at once; None for nobody.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str], object] | None = None
        self._texts: list[str] = []

    def add(self, *texts: str) -> None:
        """Note mistakes; each is told once."""
        for text in texts:
            if text not in self._texts:
                self._texts.append(text)
                if self.tell is not None:
                    self.tell(text)

    def check(self) -> None:
        """Raise what was noted since the last check.

        Raises:
            WrongAnswerError: There was something.
        """
        texts, self._texts = self._texts, []
        if texts:
            raise WrongAnswerError("\n".join(texts))
