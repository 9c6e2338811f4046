"""One setting's description: its type, bounds and help, and how a value from outside is brought into that type.

Owns the checks of single values, of the server's settings as of a model's. Frozen; any thread.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from predictd_proto.errors import ConfigError


class Form(Enum):
    """How many values of a setting's kind it takes."""

    ONE = "one"
    LIST = "list"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting's description.

    Attributes:
        name: Its key in the file; `PREDICTD_<NAME>` in the environment, `--<name>` with dashes on the command line.
        kind: bool, int, float or str; of each item, where it is a list or a table.
        default: Its value where nothing sets it.
        help: One line, with the unit.
        low: Smallest value allowed.
        high: Largest value allowed.
        choices: The values allowed, where they are few.
        form: One value, a list of them, or a table of them by name; a list holds at least one.
        pattern: What a text must match as a whole.
        rule: The same in words.
        others: Other forms that its value may have instead.
    """

    name: str
    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    form: Form = Form.ONE
    pattern: re.Pattern[str] | None = None
    rule: str = ""
    others: tuple[Setting, ...] = ()

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"PREDICTD_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: object, origin: str) -> Any:
        """Return the value in the setting's type: lists as tuples, tables as dicts.

        Raises:
            ConfigError: It is of another type or out of bounds; the text names the origin.
        """
        for setting in (self, *self.others):
            if setting._fits(value):
                return setting._converted(value)
        text = f"{origin}: {self.name} = {value!r}: expected {self.expectation}"
        raise ConfigError(text)

    def parse(self, text: str, origin: str) -> Any:
        """Return a text, as the environment and the command line give it, in the setting's type.

        Raises:
            ConfigError: It can't be read as that.
        """
        value: object = text
        try:
            if self.kind is bool:
                value = _BOOLS[text.strip().lower()]
            elif self.kind is not str:
                value = self.kind(text)
        except (ValueError, KeyError):
            message = f"{origin}: {self.name} = {text!r}: expected {self.expectation}"
            raise ConfigError(message) from None
        return self.check(value, origin)

    @property
    def expectation(self) -> str:
        """What a value must be, in words."""
        prefix = {Form.ONE: "", Form.LIST: "a list of at least one, each ", Form.TABLE: "a table of NAME = "}[self.form]
        return " or ".join([prefix + self._one, *(other.expectation for other in self.others)])

    @property
    def _one(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices) if len(self.choices) > 1 else "".join(map(repr, self.choices))
        if self.rule:
            return self.rule
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[self.kind]
        if self.low is not None and self.high is not None:
            return f"{words} from {self.low:g} to {self.high:g}"
        return words if self.low is None else f"{words} of at least {self.low:g}"

    def _fits(self, value: object) -> bool:
        if self.form is Form.LIST:
            return isinstance(value, list | tuple) and bool(value) and all(map(self._is_one, value))
        if self.form is Form.TABLE:
            return isinstance(value, dict) and all(map(self._is_one, value.values()))
        return self._is_one(value)

    def _is_one(self, value: object) -> bool:
        if type(value) is not self.kind and not (self.kind is float and type(value) is int):
            return False
        if isinstance(value, str):
            if self.choices:
                return value in self.choices
            return self.pattern is None or self.pattern.fullmatch(value) is not None
        assert isinstance(value, int | float)
        if self.low is not None and not value >= self.low:
            return False
        return self.high is None or value <= self.high

    def _converted(self, value: Any) -> Any:
        if self.form is Form.LIST:
            return tuple(map(self.kind, value))
        if self.form is Form.TABLE:
            return {name: self.kind(item) for name, item in value.items()}
        return self.kind(value)


_BOOLS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def unknown_name(name: str, origin: str, known: Iterable[str]) -> ConfigError:
    """Return what to say of a name that nobody knows: the one that was probably meant, or all there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "there are " + ", ".join(names)
    return ConfigError(f"{origin}: unknown setting {name}; {hint}")
