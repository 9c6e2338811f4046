"""A fake in a process of its own, steered line by line by the process that started it.

Owns the child's end of that conversation: JSON lines on standard input, JSON lines on standard output, one for each
order under its number, and unasked ones for mistakes. It ends when its standard input does. Main thread of the child;
mistakes are told by the thread that made them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import IO, Any

from predictd.testing.daemon import FakeServer
from predictd.testing.fault import Fault
from predictd.testing.serving import serve_on_sockets
from predictd.testing.shipping import unship
from predictd_proto.errors import PredictdError, error_from_code


class Parent:
    """The process that gives the orders.

    Args:
        orders: Its orders, a line each.
        answers: Where they are answered.
    """

    def __init__(self, orders: IO[str], answers: IO[str]) -> None:
        self.orders: IO[str] = orders
        self._answers = answers
        self._lock = threading.Lock()

    def say(self, **words: Any) -> None:
        """Say something."""
        with self._lock:
            self._answers.write(json.dumps(words) + "\n")
            self._answers.flush()


def main() -> None:
    """Serve until standard input ends."""
    parent = _parent()
    order = json.loads(parent.orders.readline())
    try:
        server = FakeServer([unship(model) for model in order["models"]], endpoint=order["endpoint"])
        server.mistakes.tell = lambda text: parent.say(mistake=text)
        # To die is real here.
        server.presence.watch(_kill_self)
        with serve_on_sockets(server, is_announced=False):
            parent.say(number=order["number"], said=os.getpid())
            _obey(server, parent)
            server.presence.unwatch(_kill_self)
    except PredictdError as error:
        parent.say(number=order["number"], error=error.message)


def _parent() -> Parent:
    """Keep the two pipes for the orders alone: what an answer prints goes to standard error, what it reads is empty."""
    orders, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Parent(orders, answers)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _obey(server: FakeServer, parent: Parent) -> None:
    faults: dict[int, Fault] = {}
    for line in parent.orders:
        order = json.loads(line)
        number = order["number"]
        try:
            parent.say(number=number, said=_done(server, faults, number, order["do"], order.get("with", {})))
        except PredictdError as error:
            parent.say(number=number, error=error.message)
        except (AttributeError, TypeError) as error:
            parent.say(number=number, error=f"no such switch: {error}")
        except Exception as error:  # one order that fails is no reason to end
            parent.say(number=number, error=f"{type(error).__name__}: {error}")


def _done(server: FakeServer, faults: dict[int, Fault], number: int, what: str, arguments: dict[str, Any]) -> Any:
    if what == "count":
        requests = server.requests if arguments["model"] is None else server.requests_for(arguments["model"])
        return len(requests)
    if what == "reset":
        server.reset()
        return None
    if what == "end":
        fault = faults.pop(arguments["fault"], None)
        if fault is not None:
            fault.end()
        return None
    name = arguments.pop("name")
    if "error" in arguments:
        arguments["error"] = error_from_code(*arguments["error"])
    found = getattr(server.faults, name)(**arguments)
    if not isinstance(found, Fault):
        text = f"{name!r} is none"
        raise TypeError(text)
    faults[number] = found
    return number


if __name__ == "__main__":
    main()
