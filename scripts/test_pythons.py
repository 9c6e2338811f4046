"""Run the proto and client tests on every supported Python that this machine has.

Owns the environments under .venvs/, one per interpreter, each with the thin client and nothing
else: no TensorFlow, no Celery. The oldest interpreter gets the oldest dependencies that
pyproject.toml allows, so that its floors are true. On .venv's own version the tests have run already
(`make test-here`): there they are only collected, which shows that they need nothing else. The
others run side by side: a run of three minutes has half of one core at work, most tests wait for something. What each
says is printed when it is done. Must not touch .venv.

    python scripts/test_pythons.py [arguments for pytest]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = CHECKOUT / ".venvs"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
TESTS = ("tests/proto", "tests/client")
NO_TESTS_COLLECTED = 5
AT_ONCE = 3
OWN_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def candidates(version: str) -> Iterator[Path]:
    """Yield where an interpreter may be: every folder of PATH, then pyenv's own."""
    name = f"python{version}"
    for entry in os.get_exec_path():
        yield Path(entry) / name
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob(f"versions/{version}.*/bin"), reverse=True):
        yield folder / name


def find_python(version: str) -> Path | None:
    """Return an interpreter of that version which runs (a pyenv shim may well not)."""
    probe = "import sys; print('%d.%d' % sys.version_info[:2])"
    for path in candidates(version):
        if os.access(path, os.X_OK):
            ran = subprocess.run([path, "-c", probe], capture_output=True, text=True, check=False)
            if ran.stdout.strip() == version:
                return path
    return None


def lowest_requirements() -> list[str]:
    """Return the thin client's dependencies, each pinned to the lowest release it allows."""
    needed = [line for line in metadata.requires("predictd") or [] if "extra ==" not in line]
    return [re.sub(r"^([\w.-]+)>=([\w.]+)$", r"\1==\2", line) for line in needed]


def run(command: Sequence[str | Path], said: list[str]) -> int:
    """Run a command, keep what it says, and return its exit status."""
    ran = subprocess.run(
        command,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    said.append(ran.stdout)
    return ran.returncode


def prepare(version: str, python: Path, pinned: list[str], said: list[str]) -> Path | None:
    """Make or refresh one environment; return its interpreter, None where that failed."""
    folder = ENVIRONMENTS / version
    inside, stamp = folder / "bin" / "python", folder / ".ready"
    project = CHECKOUT / "pyproject.toml"
    if stamp.exists() and stamp.stat().st_mtime > project.stat().st_mtime and inside.exists():
        return inside
    install = "-m pip install -qq --disable-pip-version-check --editable . --group test-client"
    commands: list[list[str | Path]] = [
        [CHECKOUT / "scripts" / "create_venv.sh", folder, python],
        [inside, *install.split(), *pinned],
    ]
    if any(run(command, said) for command in commands):
        return None
    stamp.touch()
    return inside


def run_tests(python: Path, arguments: list[str], said: list[str], *, only_collect: bool) -> str:
    """Run pytest there; return "passed", "collected" or what went wrong."""
    command: list[str | Path] = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", *TESTS, *arguments]
    if only_collect:
        command += ["--collect-only", "-qq"]
    status = run(command, said)
    if status == NO_TESTS_COLLECTED:
        return "FAILED: no test collected"
    if status:
        return f"FAILED: pytest ended with {status}"
    return "collected (.venv's own version)" if only_collect else "passed"


def test_one(arguments: list[str], version: str) -> str:
    """Test one version, print what was said, and return its line of the summary."""
    python = find_python(version)
    if python is None:
        return f"SKIPPED: no python{version} on PATH or in pyenv"
    is_lowest = version == VERSIONS[0]
    pinned = lowest_requirements() if is_lowest else []
    started = time.monotonic()
    said = [f"\n==> Python {version}{', oldest dependencies' if is_lowest else ''}\n"]
    inside = prepare(version, python, pinned, said)
    result = "FAILED: no environment"
    if inside is not None:
        result = run_tests(inside, arguments, said, only_collect=version == OWN_VERSION and not is_lowest)
    print("".join(said), flush=True)
    note = f" with {', '.join(pinned)}" if pinned else ""
    return f"{result} in {time.monotonic() - started:.0f} s{note}"


def main() -> None:
    """Test all versions, then say how each went; exit 1 if one failed or none was there."""
    tests = [folder for folder in TESTS if (CHECKOUT / folder).is_dir()]
    if tests != list(TESTS):
        sys.exit(f"test_pythons.py: expected the folders {', '.join(TESTS)}, got {tests}")
    with ThreadPoolExecutor(AT_ONCE) as sideways:
        summary = dict(zip(VERSIONS, sideways.map(partial(test_one, sys.argv[1:]), VERSIONS), strict=True))
    print(f"\n==> proto and client tests ({', '.join(tests)})")
    for version, line in summary.items():
        print(f"    Python {version}: {line}")
    failed = any(line.startswith("FAILED") for line in summary.values())
    if failed or not any(line.startswith(("passed", "collected")) for line in summary.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
