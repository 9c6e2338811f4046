"""What is public is described: every argument by its name, what comes back, and errors that exist."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import predictd
import predictd.testing

SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Warns|Examples|Note):$")
ENTRY = re.compile(r"^\*{0,2}([\w, .]+):")
#: Said by a first line such as "Return the ..." or "Wait for it, and return it.".
SAYS_RESULT = re.compile(r"\b(returns?|yields?)\b", re.IGNORECASE)
#: Many switches that take the same arguments, told once on their class: what is described must exist, no more.
TERSE = "predictd.testing."
NOTHING = {None, "None", inspect.Signature.empty}


def public_things() -> Iterator[tuple[str, Any]]:
    """Every public class and function with its public methods and properties."""
    for module in (predictd, predictd.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            if not inspect.isclass(thing) and not inspect.isroutine(thing):
                continue
            yield f"{module.__name__}.{name}", thing
            if not inspect.isclass(thing):
                continue
            for base in thing.__mro__:
                if not base.__module__.startswith("predictd"):
                    continue
                for member, value in vars(base).items():
                    is_call = member == "__call__" and inspect.isfunction(value)
                    if (not member.startswith("_") or is_call) and _is_described(value):
                        yield f"{module.__name__}.{name}.{member}", value


def _is_described(value: Any) -> bool:
    return inspect.isroutine(value) or isinstance(value, (property, classmethod, staticmethod))


THINGS = dict(public_things())
CALLS = {
    name: getattr(thing, "__func__", thing)
    for name, thing in THINGS.items()
    if not isinstance(thing, property) and not (inspect.isclass(thing) and issubclass(thing, BaseException))
}


def sections(thing: Any) -> dict[str, list[str]]:
    """The names that each section of a docstring lists; those of a class are its constructor's."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        head = SECTION.match(line)
        if head:
            current = head[1]
            found[current] = []
        elif line and not line.startswith(" "):
            current = ""
        elif current and re.match(r"^ {4}\S", line):
            entry = ENTRY.match(line.strip())
            found[current] += [part.strip() for part in entry[1].split(",")] if entry else []
    return found


def arguments(thing: Any) -> list[str]:
    """The arguments that a caller gives."""
    if inspect.isclass(thing) and "__init__" not in vars(thing) and "__new__" not in vars(thing):
        return []
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except ValueError:
        return []
    return [
        parameter.name for parameter in parameters if parameter.name not in {"self", "cls"} and parameter.name[0] != "_"
    ]


@pytest.mark.parametrize("name", THINGS)
def test_it_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(THINGS[name]) or ""
    assert text, f"{name} has no docstring"
    assert text.splitlines()[0].endswith("."), f"{name}: a docstring's first line is a sentence"


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_described_and_no_other(name: str) -> None:
    found, expected = sections(CALLS[name]), arguments(CALLS[name])
    described = found.get("Args", [])
    if inspect.isclass(CALLS[name]) and not described:
        # A record: its arguments are what it holds.
        described = found.get("Attributes", [])
    if name.startswith(TERSE):
        assert set(described) <= set(expected), name
        return
    assert described == expected, name


@pytest.mark.parametrize(
    "name", [name for name, thing in CALLS.items() if not inspect.isclass(thing) and not name.startswith(TERSE)]
)
def test_what_comes_back_is_described(name: str) -> None:
    thing = CALLS[name]
    if inspect.signature(thing).return_annotation in NOTHING:
        assert "Returns" not in sections(thing), f"{name} returns nothing"
        return
    first = (inspect.getdoc(thing) or "").splitlines()[0]
    assert {"Returns", "Yields"} & sections(thing).keys() or SAYS_RESULT.search(first), (
        f"{name} says not what it returns"
    )


@pytest.mark.parametrize("name", CALLS)
def test_errors_are_those_that_exist(name: str) -> None:
    for error in sections(CALLS[name]).get("Raises", []):
        known = (
            getattr(predictd, error, None) or getattr(predictd.testing, error, None) or getattr(builtins, error, None)
        )
        assert inspect.isclass(known), f"{name}: there is no error {error!r}"
        assert issubclass(known, BaseException), f"{name}: {error} is no error"


@pytest.mark.parametrize(
    "name", [name for name, thing in CALLS.items() if "timeout_ms" in arguments(thing) and not inspect.isclass(thing)]
)
def test_whatever_has_a_time_out_says_what_it_raises(name: str) -> None:
    assert sections(CALLS[name]).get("Raises"), name
