"""The examples in the docstrings of predictd.testing are run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import predictd.testing

MODULES = [
    name
    for _, name, _ in pkgutil.iter_modules(predictd.testing.__path__, "predictd.testing.")
    if not name.endswith(("__main__", "child"))
]


@pytest.mark.parametrize("name", ["predictd.testing", *MODULES])
def test_examples_do_what_they_show(name: str) -> None:
    module = importlib.import_module(name)
    names = {**vars(predictd.testing), **vars(module)}
    failed, _ = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_every_public_name_has_words() -> None:
    for name in predictd.testing.__all__:
        assert getattr(predictd.testing, name).__doc__, name
