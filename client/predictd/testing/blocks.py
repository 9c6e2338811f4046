"""Fakes for the length of a block, or of a function that is decorated with one.

Owns the decoration. What `contextlib` makes of a generator would end its block before a coroutine begins. Any thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from predictd_proto.errors import ConfigError

if TYPE_CHECKING:
    from predictd.testing.daemon import FakeServer

Given = ParamSpec("Given")
Function = TypeVar("Function", bound=Callable[..., Any])


class Block:
    """Serves a fake in a `with` statement, or as a decorator while a function or coroutine function runs.

    Args:
        make: Makes what serves it, anew for every use.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[FakeServer]]) -> None:
        self._make = make
        self._entered: list[AbstractContextManager[FakeServer]] = []

    def __enter__(self) -> FakeServer:
        made = self._make()
        server = made.__enter__()
        self._entered.append(made)
        return server

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._entered.pop().__exit__(kind, error, trace)

    def __call__(self, function: Function) -> Function:
        """Return a function that serves the fake while it runs.

        Raises:
            ConfigError: It is a generator function: its body runs after it has returned.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            text = f"{function.__qualname__}: a fake can't decorate a generator; use it in a `with` statement there"
            raise ConfigError(text)
        make = self._make
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **options: Any) -> Any:
                with make():
                    return await function(*args, **options)

            return cast("Function", awaited)

        @wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            with make():
                return function(*args, **options)

        return cast("Function", called)


def as_block(function: Callable[Given, Iterator[FakeServer]]) -> Callable[Given, Block]:
    """Return a function that makes the block which a generator serves."""
    serve = contextmanager(function)

    @wraps(function)
    def make(*args: Given.args, **options: Given.kwargs) -> Block:
        return Block(lambda: serve(*args, **options))

    return make
