"""Mistakes of a test in its fake's answers: its clients only see an internal error, its author is told at the end.

Owns the list of them, and what a client is told of what an answer raised. Any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from predictd.testing.answers import WrongAnswerError
from predictd_proto.errors import InternalServerError, PredictdError, PredictionError

Answer = TypeVar("Answer")


class Mistakes:
    """What was wrong with answers, in the words that their author gets to read.

    Attributes:
        tell: Told each new one at once; None for nobody.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str], object] | None = None
        self._texts: list[str] = []
        self._made_by = threading.get_ident()

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

    def guard(self, label: str, run: Callable[[], Answer]) -> Answer:
        """Return what a function of the test returns.

        Args:
            label: The model, for error texts.
            run: The function.

        Raises:
            PredictdError: What a client is told of what it raised.
        """
        try:
            return run()
        except PredictdError:
            raise
        except AssertionError as error:
            said = str(error) or "AssertionError"
            is_ours = isinstance(error, WrongAnswerError)
            raise self._told(said if is_ours else f"{label}: an assertion in its answer failed: {said}") from error
        except Exception as error:  # the model raised, as it may in the daemon
            text = f"{label}: its answer raised {type(error).__name__}: {error}"
            raise PredictionError(text) from error
        except BaseException as error:
            # pytest.fail, pytest.skip, sys.exit: the test's own thread is told by it, any other would only end.
            if threading.get_ident() == self._made_by:
                raise
            text = f"{label}: its answer raised {type(error).__name__}: {error}"
            raise self._told(text) from error

    def _told(self, text: str) -> InternalServerError:
        self.add(text)
        return InternalServerError(f"a mistake in the test, told again when the fake ends: {text}")
