"""Build the wheel and try it where nothing else is: what a user gets, not what the checkout has.

Owns two throw-away environments outside the checkout: one with the thin client alone, one with the
server and Celery extras, in which a model is served and asked. Must not import any predictd package
into this process, nor touch .venv. Runs in the main thread; every process it starts, it ends.

    python scripts/check_wheel.py [--extra server-cpu]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
STEP_LIMIT_S = 900
READY_LIMIT_S = 120
CLIENT_DISTRIBUTIONS = {"click", "msgpack", "numpy", "predictd", "pyzmq"}
# What an empty environment holds already.
FURNITURE = {"pip", "setuptools"}

CLIENT_ONLY = """
    import importlib.metadata, importlib.util, sys
    import predictd
    for name in ("tensorflow", "keras", "celery", "rich"):
        assert importlib.util.find_spec(name) is None, f"{name} came with the client"
    assert "site-packages" in predictd.__file__, predictd.__file__
    print(*sorted(d.name.lower() for d in importlib.metadata.distributions()))
"""

TRAIN = """
    import keras, numpy
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save("double.keras")
    x = numpy.arange(12, dtype="float32").reshape(4, 3)
    numpy.savez("expected.npz", x=x, y=model.predict(x, verbose=0))
"""

ASK = """
    import sys
    import numpy, predictd
    data = numpy.load("expected.npz")
    answer = predictd.RemoteModel("double").predict(data["x"], verbose=0)
    numpy.testing.assert_allclose(answer, data["y"], rtol=1e-5)
    import predictd_celery
    assert "tensorflow" not in sys.modules and "keras" not in sys.modules
    print("the served model answers as the local one")
"""


class Sandbox:
    """An empty virtual environment and an empty working directory.

    Attributes:
        work: Where its commands run: no file of the checkout is near.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.work = root / name
        self.work.mkdir()
        self._bin = root / f"{name}-venv" / "bin"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        base = Path(sys.base_prefix) / "bin" / version
        subprocess.run([CHECKOUT / "scripts" / "create_venv.sh", self._bin.parent, base], check=True)
        # Nothing of this shell leaks in: neither its PYTHONPATH nor its PREDICTD_ settings.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREDICTD_")}
        kept.pop("PYTHONPATH", None)
        self._environment = {
            **kept,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "PREDICTD_ENDPOINT": f"ipc://{self.work}/sockets/predictd.sock",
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment; print what it said where it failed."""
        ran = subprocess.run(
            self._resolved(command),
            cwd=self.work,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=STEP_LIMIT_S,
            check=False,
        )
        if check and ran.returncode != 0:
            sys.exit(f"check_wheel.py: {command} ended with {ran.returncode}\n{said(ran)}")
        return ran

    def python(self, source: str) -> str:
        """Run Python source there; return what it printed."""
        return self.run("python", "-c", textwrap.dedent(source)).stdout.strip()

    def install(self, *requirements: str) -> None:
        """Install into the environment."""
        pip = ("python", "-m", "pip", "install", "-qq", "--disable-pip-version-check")
        self.run(*pip, *requirements)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command of this environment; its output goes to `output.log` there."""
        with (self.work / "output.log").open("wb") as log:
            return subprocess.Popen(
                self._resolved(command),
                cwd=self.work,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _resolved(self, command: tuple[str, ...]) -> list[str]:
        return [str(self._bin / command[0]), *command[1:]]


def said(ran: subprocess.CompletedProcess[str]) -> str:
    """Return all that a command printed."""
    return (ran.stdout + ran.stderr).strip()


def build_wheel(directory: Path) -> Path:
    """Build the wheel from the checkout into a directory."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(CHECKOUT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=STEP_LIMIT_S, check=False)
    if built.returncode != 0:
        sys.exit(f"check_wheel.py: no wheel\n{said(built)}")
    (wheel,) = directory.glob("predictd-*.whl")
    return wheel


def check_client(sandbox: Sandbox, wheel: Path) -> str:
    """Install the bare wheel: the client works, and `serve` says what it lacks."""
    sandbox.install(str(wheel))
    distributions = set(sandbox.python(CLIENT_ONLY).split()) - FURNITURE
    if not distributions <= CLIENT_DISTRIBUTIONS:
        heavier = sorted(distributions - CLIENT_DISTRIBUTIONS)
        sys.exit(f"check_wheel.py: the client alone brings {heavier}: too heavy for every child")
    sandbox.run("predictd", "--help")
    serve = sandbox.run("predictd", "serve", "model.keras", check=False)
    if serve.returncode == 0 or "predictd[server" not in said(serve):
        sys.exit(f"check_wheel.py: `predictd serve` does not name its extra:\n{said(serve)}")
    return f"client alone: {', '.join(sorted(distributions))}; serve says: {said(serve)}"


def check_server(sandbox: Sandbox, wheel: Path, extra: str) -> str:
    """Install the wheel with its extras: a model is served, asked, and drained."""
    sandbox.install(f"{wheel}[{extra},celery]")
    sandbox.python(TRAIN)
    daemon = sandbox.start("predictd", "serve", "double.keras")
    try:
        ready = sandbox.run("predictd", "status", "--wait", str(READY_LIMIT_S), check=False)
        if ready.returncode != 0:
            log = (sandbox.work / "output.log").read_text(errors="replace")
            sys.exit(f"check_wheel.py: predictd never was ready\n{said(ready)}\n{log}")
        answer = sandbox.python(ASK)
        daemon.terminate()
        status = daemon.wait(timeout=60)
    finally:
        daemon.kill()
    if status != 0:
        sys.exit(f"check_wheel.py: SIGTERM ended predictd with {status}, not 0")
    return f"with [{extra},celery]: {answer}"


def timed(step: Callable[[], str]) -> None:
    """Run one step and print its line with the time it took."""
    started = time.monotonic()
    line = step()
    print(f"    {line} ({time.monotonic() - started:.0f} s)", flush=True)


def main() -> None:
    """Build, try both environments, and clean up."""
    parser = argparse.ArgumentParser(description="Build the wheel and try it in empty places.")
    parser.add_argument("--extra", default="server-cpu", help="the server extra to install")
    extra: str = parser.parse_args().extra
    root = Path(tempfile.mkdtemp(prefix="predictd-wheel-"))
    print("==> building the wheel and trying it in two empty environments", flush=True)
    try:
        wheel = build_wheel(root)
        timed(lambda: check_client(Sandbox(root, "client"), wheel))
        timed(lambda: check_server(Sandbox(root, "server"), wheel, extra))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"==> {wheel.name} is good")


if __name__ == "__main__":
    main()
