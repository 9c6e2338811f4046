"""The limit of the road: a bare ROUTER that sends every message back. `python -m benchmarks.limits.echo_process AT`."""

from __future__ import annotations

import json
import sys

import zmq


def main(endpoint: str) -> None:
    """Echo until the process is ended."""
    router = zmq.Context().socket(zmq.ROUTER)
    router.bind(endpoint)
    print(json.dumps({"ready": True}), flush=True)
    while True:
        router.send_multipart(router.recv_multipart())


if __name__ == "__main__":
    main(sys.argv[1])
