"""The limit of the road: a bare ROUTER that sends every message back. `python -m benchmarks.echo ENDPOINT`."""

from __future__ import annotations

import sys

import zmq


def main(endpoint: str) -> None:
    """Echo until the process is ended."""
    router = zmq.Context().socket(zmq.ROUTER)
    router.bind(endpoint)
    print("ready", flush=True)
    while True:
        router.send_multipart(router.recv_multipart())


if __name__ == "__main__":
    main(sys.argv[1])
