"""Run the proto and client tests on every supported Python that this machine has.

Owns the environments under .venvs/, one per interpreter, each with the thin client and nothing
else: no TensorFlow, no Celery. The oldest interpreter gets the oldest dependencies that
pyproject.toml allows, so that its floors are true. On .venv's own version the tests have run already
(`make test-here`): there they are only collected, which shows that they need nothing else. Must not
touch .venv. Runs in the main thread.

    python scripts/test_pythons.py [arguments for pytest]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = CHECKOUT / ".venvs"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
TESTS = ("tests/proto", "tests/client")
NO_TESTS_COLLECTED = 5
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


def prepare(version: str, python: Path, pinned: list[str]) -> Path:
    """Make or refresh one environment; return its interpreter."""
    folder = ENVIRONMENTS / version
    inside, stamp = folder / "bin" / "python", folder / ".ready"
    project = CHECKOUT / "pyproject.toml"
    if stamp.exists() and stamp.stat().st_mtime > project.stat().st_mtime and inside.exists():
        return inside
    subprocess.run([CHECKOUT / "scripts" / "create_venv.sh", folder, python], check=True)
    install = "-m pip install -qq --disable-pip-version-check --editable . --group test-client"
    subprocess.run([inside, *install.split(), *pinned], cwd=CHECKOUT, check=True)
    stamp.touch()
    return inside


def run_tests(python: Path, tests: list[str], arguments: list[str], *, only_collect: bool) -> str:
    """Run pytest there; return "passed", "collected" or what went wrong."""
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-q", *tests, *arguments]
    if only_collect:
        command += ["--collect-only", "-qq"]
    status = subprocess.run(command, cwd=CHECKOUT, check=False).returncode
    if status == NO_TESTS_COLLECTED:
        return "FAILED: no test collected"
    if status:
        return f"FAILED: pytest ended with {status}"
    return "collected (.venv's own version)" if only_collect else "passed"


def test_one(version: str, tests: list[str], arguments: list[str], *, lowest: bool) -> str:
    """Test one version; return its line of the summary."""
    python = find_python(version)
    if python is None:
        return f"SKIPPED: no python{version} on PATH or in pyenv"
    pinned = lowest_requirements() if lowest else []
    started = time.monotonic()
    print(f"\n==> Python {version}{', oldest dependencies' if lowest else ''}", flush=True)
    only_collect = version == OWN_VERSION and not lowest
    try:
        result = run_tests(prepare(version, python, pinned), tests, arguments, only_collect=only_collect)
    except subprocess.CalledProcessError as error:
        return f"FAILED: no environment ({error.cmd[0]} ended with {error.returncode})"
    note = f" with {', '.join(pinned)}" if pinned else ""
    return f"{result} in {time.monotonic() - started:.0f} s{note}"


def main() -> None:
    """Test all versions, then say how each went; exit 1 if one failed or none was there."""
    tests = [folder for folder in TESTS if (CHECKOUT / folder).is_dir()]
    if tests != list(TESTS):
        sys.exit(f"test_pythons.py: expected the folders {', '.join(TESTS)}, got {tests}")
    summary = {version: test_one(version, tests, sys.argv[1:], lowest=version == VERSIONS[0]) for version in VERSIONS}
    print(f"\n==> proto and client tests ({', '.join(tests)})")
    for version, line in summary.items():
        print(f"    Python {version}: {line}")
    failed = any(line.startswith("FAILED") for line in summary.values())
    if failed or not any(line.startswith(("passed", "collected")) for line in summary.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
