"""A fake in a process of its own, steered line by line by the process that started it.

Owns the child's end of that conversation: JSON lines on standard input, one JSON line for each on standard output. It
ends when its standard input does. Main thread of the child.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from predictd.testing.daemon import FakeServer
from predictd.testing.fault import Fault
from predictd.testing.serving import serve_on_sockets
from predictd.testing.shipping import unship
from predictd_proto.errors import ERROR_CLASSES, PredictdError


def main() -> None:
    """Serve until standard input ends."""
    order = json.loads(sys.stdin.readline())
    try:
        server = FakeServer([unship(model) for model in order["models"]], endpoint=order["endpoint"])
        # To die is real here.
        server.presence.watch(_kill_self)
        with serve_on_sockets(server, is_announced=False):
            _say({"up": os.getpid()})
            _obey(server)
            server.presence.unwatch(_kill_self)
    except PredictdError as error:
        _say({"error": error.message})


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _obey(server: FakeServer) -> None:
    faults: dict[int, Fault] = {}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            _say({"said": _done(server, faults, order["do"], order.get("with", {}))})
        except PredictdError as error:
            _say({"error": error.message})
        except (AttributeError, TypeError) as error:
            _say({"error": f"no such switch: {error}"})


def _done(server: FakeServer, faults: dict[int, Fault], what: str, arguments: dict[str, Any]) -> Any:
    if what == "count":
        requests = server.requests if arguments["model"] is None else server.requests_for(arguments["model"])
        return len(requests)
    if what == "reset":
        server.reset()
        return None
    if what == "end":
        faults.pop(arguments["fault"]).end()
        return None
    name = arguments.pop("name")
    if isinstance(arguments.get("error"), str):
        arguments["error"] = ERROR_CLASSES[arguments["error"]]
    faults[len(faults)] = getattr(server.faults, name)(**arguments)
    return len(faults) - 1


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
