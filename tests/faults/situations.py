"""What the fault tests bring about: long runs, calls in threads, peers that speak to the socket directly."""

from __future__ import annotations

import threading

import numpy as np
import zmq

from tests.make_models import SLEEP_BASE


def sleep_for(seconds: float) -> np.ndarray:
    return np.array([SLEEP_BASE + seconds], np.float32)


def served_sleeper(start_daemon, models, *arguments: str, endpoint: str | None = None, **options):
    """Return a daemon and a client of the sleeper, after one long run: the next ones go to the engine's thread."""
    daemon = start_daemon(models / "sleeper", *arguments, **({"endpoint": endpoint} if endpoint else {}))
    client = daemon.client(retries=None, **options)
    client.predict("sleeper", sleep_for(0.5))
    return daemon, client


def in_thread(call) -> tuple[threading.Thread, list]:
    results: list = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, results


def raw_dealer(endpoint: str, most_unread: int = 1000) -> zmq.Socket:
    dealer: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.RCVTIMEO, 60_000)
    dealer.setsockopt(zmq.RCVHWM, most_unread)
    dealer.connect(endpoint)
    return dealer
