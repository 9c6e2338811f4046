"""`python -m predictd.testing serve`: a fake daemon for a shell, a browser test, another language.

Owns that command. Main thread of its process.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from predictd.testing.cassettes import CassetteServer
from predictd.testing.daemon import FakeServer
from predictd.testing.recording import Recording
from predictd.testing.serving import serve_on_sockets
from predictd.testing.shipping import found
from predictd_proto.endpoints import default_endpoint
from predictd_proto.errors import PredictdError


def main() -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m predictd.testing", description="Fakes of predictd")
    serve = parser.add_subparsers(required=True).add_parser("serve", help="serve fake models, or a recording")
    serve.add_argument("models", nargs="*", metavar="MODULE:NAME", help="a FakeModel that can be imported")
    serve.add_argument("--replay", metavar="FILE", help="answer from a recording")
    serve.add_argument("--endpoint", help="where to listen (default: where clients look)")
    chosen = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        server = _server(chosen.models, chosen.replay)
        server.endpoint = chosen.endpoint or str(default_endpoint())
        with serve_on_sockets(server, is_announced=False):
            sys.stderr.write(f"{server!r}\n")
            while not over.wait(1.0):
                pass
    except PredictdError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    return 0


def _server(models: list[str], recording: str | None) -> FakeServer:
    # Modules are looked for where the command is run, as `python -m` itself does.
    if recording is not None:
        return CassetteServer(Recording.load(Path(recording)), recording)
    return FakeServer([found(name) for name in models])


if __name__ == "__main__":
    sys.exit(main())
