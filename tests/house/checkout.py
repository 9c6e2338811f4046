"""Where the checkout's files are: what the tests of the house look at.

Owns the list of folders that belong to the project. Reads names only; safe in any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "predictd": CHECKOUT / "client" / "predictd",
    "predictd_celery": CHECKOUT / "celery_app" / "predictd_celery",
    "predictd_proto": CHECKOUT / "proto" / "predictd_proto",
    "predictd_server": CHECKOUT / "server" / "predictd_server",
}
# Named one by one and not walked from the top: environments and caches live in the checkout too.
FOLDERS = (
    ".ci",
    "benchmarks",
    "celery_app",
    "client",
    "docs",
    "examples",
    "proto",
    "scripts",
    "server",
    "tests",
)


def files(suffix: str = "") -> Iterator[Path]:
    """Yield the project's own files whose name ends so, and the ones at the top where it fits."""
    for path in sorted(CHECKOUT.iterdir()):
        if path.is_file() and path.name.endswith(suffix) and not path.name.startswith(".coverage"):
            yield path
    for folder in FOLDERS:
        for path in sorted((CHECKOUT / folder).rglob(f"*{suffix}")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def shown(path: Path) -> str:
    """Return the path as it is spoken of: from the checkout's top."""
    return path.relative_to(CHECKOUT).as_posix()
