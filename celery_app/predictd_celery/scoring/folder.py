"""The output folder of one run: who may write there, what the run is about, and where its chunks lie.

    DIR/manifest.json                    what was asked about which inputs; at the end what came out, with checksums
    DIR/.predictd-score.lock             held while a run is on; it stays, for a lock that goes can be held twice
    DIR/.predictd-score/<chunk>.chunk    the answers of one chunk; gone when all is done

Owns these files. Which chunks are done is told by their files alone: there is no second list that could disagree with
them after a crash. The thread that runs the scoring; workers only add chunks' files.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from predictd_celery.scoring.chunk_files import STATE, chunk_name, sync_folder, write_whole
from predictd_proto.errors import ConfigError, ScoreError

MANIFEST = "manifest.json"
FORMAT = 2


class Folder:
    """An output folder; made where it is missing.

    Args:
        path: Where it is.

    Raises:
        ConfigError: It can't be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.chunks = self.path / STATE
        self._lock = self.path / f"{STATE}.lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"--output {path}: expected a folder, or a place for one: {error.strerror}"
            raise ConfigError(message) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other runs out of the folder; the lock goes with the process, however that ends.

        Raises:
            ScoreError: There is one.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(descriptor, 32, 0).decode(errors="replace") or "?"
                message = (
                    f"--output {self.path}: another run (process {who}) writes there; wait, or take another folder"
                )
                raise ScoreError(message) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    @property
    def ignores_case(self) -> bool:
        """Whether its file system takes A and a for one name; known once it was locked."""
        return self._lock.with_name(self._lock.name.upper()).exists()

    def chunk_path(self, key: str) -> Path:
        """Return where a chunk's answers lie."""
        return self.chunks / chunk_name(key)

    def manifest(self) -> dict[str, Any] | None:
        """Return what is written of the run; None where there is none yet.

        Raises:
            ConfigError: It is no manifest.
        """
        path = self.path / MANIFEST
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            found = {"error": str(error)}
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            message = f"{path} is no manifest of this version of `predictd score`: take another folder"
            raise ConfigError(message)
        return found

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write what is known of the run, where it is not written already."""
        whole = {"format": FORMAT, **manifest}
        if self.manifest() != whole:
            write_whole(self.path / MANIFEST, [json.dumps(whole, indent=1).encode(), b"\n"])

    def forget_chunks(self) -> None:
        """Remove the chunks' files: all that they hold is in the outputs."""
        sync_folder(self.path)
        shutil.rmtree(self.chunks, ignore_errors=True)
