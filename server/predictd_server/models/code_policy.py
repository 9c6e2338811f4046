"""Code in models: what becomes of a file that may run code, and of the code that comes with it.

Owns the decision and its words; who takes a file or a graph apart tells it what was found. It reads nothing itself.
Loader thread.
"""

from __future__ import annotations

from predictd_proto.errors import ModelLoadError
from predictd_server.models.settings import ALLOW, REFUSE


class CodePolicy:
    """What one model may do, by its setting `unsafe`.

    Args:
        unsafe: `REFUSE`, `WARN` or `ALLOW`.

    Attributes:
        notes: What was let through with a warning.
    """

    def __init__(self, unsafe: str) -> None:
        self.notes: list[str] = []
        self._unsafe = unsafe

    @property
    def allows_all(self) -> bool:
        """Whether code that a file carries may run."""
        return self._unsafe == ALLOW

    def meet(self, what: str, cure: str) -> None:
        """Take note of something that may run code or leave the model's bounds, or refuse it.

        Args:
            what: What it is, as a clause.
            cure: How to do without it.

        Raises:
            ModelLoadError: It is refused.
        """
        if self._unsafe == REFUSE:
            text = f'{what}, which its setting unsafe = "{REFUSE}" doesn\'t let through; {cure}'
            raise ModelLoadError(text)
        note = f"{what}; {cure}"
        if not self.allows_all and note not in self.notes:
            self.notes.append(note)

    def meet_carried_code(self, what: str, cure: str) -> None:
        """Refuse code that is in the file itself, unless the setting allows it.

        Raises:
            ModelLoadError: It is refused.
        """
        if not self.allows_all:
            text = (
                f"{what}, which is Python code that loading would run, and is refused; {cure}, "
                f'or trust the file with unsafe = "{ALLOW}"'
            )
            raise ModelLoadError(text)
