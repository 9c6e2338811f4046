"""Run every test, in two halves side by side: most of them wait for processes, and a machine has two cores.

Owns the halves. Each is a pytest of its own, with its own daemon, Redis and temporary files; what they print
is shown one after the other. With arguments there is one pytest, which gets them. Runs in the main thread.

    python scripts/run_tests.py [arguments for pytest]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest"]

#: About as long as all the others together.
SECOND_HALF = ("benchmarks", "celery", "integration", "pools", "tuning")


def halves() -> tuple[list[str], list[str]]:
    """Return the folders of either half; whatever is not named is in the first."""
    folders = sorted(path.name for path in (CHECKOUT / "tests").iterdir() if any(path.glob("test_*.py")))
    first = [f"tests/{name}" for name in folders if name not in SECOND_HALF]
    return first, [f"tests/{name}" for name in SECOND_HALF]


def start(folders: list[str], name: str, output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start a half; None shows what it prints at once."""
    # A cache of its own: both write it at their end.
    options = ["-o", f"cache_dir=.pytest_cache/{name}"]
    return subprocess.Popen([*PYTEST, *options, *folders], cwd=CHECKOUT, stdout=output, stderr=output)


def main() -> None:
    """Exit with 1 where a half failed."""
    if sys.argv[1:]:
        sys.exit(subprocess.run([*PYTEST, *sys.argv[1:]], cwd=CHECKOUT, check=False).returncode)
    first, second = halves()
    print(f"==> side by side: {' '.join(second)}, and all the others; the latter's output first", flush=True)
    with tempfile.TemporaryFile() as told:
        beside = start(second, "second", told)
        try:
            status = start(first, "first", None).wait()
            beside_status = beside.wait()
        finally:
            if beside.poll() is None:
                beside.terminate()
                beside.wait()
        told.seek(0)
        print(f"\n==> {' '.join(second)}", flush=True)
        sys.stdout.buffer.write(told.read())
        sys.stdout.flush()
    sys.exit(1 if status or beside_status else 0)


if __name__ == "__main__":
    main()
