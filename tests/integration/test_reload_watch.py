"""A daemon that watches its models' directory: it waits for a first one, takes what is whole, and keeps its memory."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictd
from tests.conftest import CHECKOUT
from tests.daemon_process import DaemonProcess
from tests.make_versions import WIDTH
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

X = np.ones((1, WIDTH), "float32")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("versions")
    command = [sys.executable, "-m", "tests.make_versions", str(directory), "2"]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=240)
    return directory


def huge_file(path: Path) -> None:
    """Write a file with the look of a Keras file, as large as many machines' memory and full of nothing."""
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")


def test_a_watched_directory_from_nothing_to_the_second_version(
    start_daemon: Callable[..., DaemonProcess], run_directory: Path, versions: Path
) -> None:
    directory = run_directory / "times"
    directory.mkdir()
    flags = ("--watch-s", "0.1", "--settle-s", "0.3", "--memory-limit-bytes", str(1 << 36))
    daemon = start_daemon(directory, *flags, wait=False)
    wait_until(lambda: "waiting for one" in daemon.log, what="the daemon waits")
    assert daemon.process is not None
    assert daemon.process.poll() is None
    with daemon.client() as client:
        assert client.status().state == "starting"
        with pytest.raises(predictd.ModelNotFoundError):
            client.predict("times", X, timeout_ms=1000)
        shutil.copytree(versions / "1", directory / "1")
        assert client.wait_until_ready(120, model="times").state == "ready"
        assert client.predict("times", X).receipt.version == 1

        # A copy that takes its time, in a file that grows.
        whole = (versions / "2" / "model.keras").read_bytes()
        (directory / "2").mkdir()
        with (directory / "2" / "model.keras").open("wb") as file:
            for begin in range(0, len(whole), len(whole) // 8 + 1):
                file.write(whole[begin : begin + len(whole) // 8 + 1])
                file.flush()
                assert client.predict("times", X).receipt.version == 1
        wait_until(lambda: client.predict("times", X).receipt.version == 2, what="the new version")

        (directory / "3").mkdir()
        huge_file(directory / "3" / "model.keras")
        wait_until(lambda: client.models("times")[0].error, what="the refusal")
        newest = client.models("times")[0]
        assert (newest.version, newest.state) == (3, "failed")
        assert "does not fit: loading it takes about" in newest.error
        assert f"memory_limit_bytes = {1 << 36}" in newest.error
        assert "it waits for room: 4.3 TB are missing" in newest.error
        assert client.predict("times", X).receipt.version == 2
        assert client.status().is_ready
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def test_what_comes_into_a_directory_takes_no_name_and_new_golden_samples_are_seen(
    start_daemon: Callable[..., DaemonProcess], run_directory: Path, versions: Path
) -> None:
    directory = run_directory / "models"
    directory.mkdir()
    shutil.copy(versions / "1" / "model.keras", directory / "times.keras")
    configuration = run_directory / "predictd.toml"
    every, own = '[models."*"]\npath = "models"\nunsafe = "allow"', '[models.times]\nunsafe = "refuse"'
    configuration.write_text(f"watch_s = 0.1\nsettle_s = 0.3\n{every}\n{own}\n")
    daemon = start_daemon("--config", configuration)
    with daemon.client() as client:
        before = client.models("times")[0]
        shutil.copytree(versions / "2", directory / "times" / "2")
        wait_until(lambda: client.models("times")[0].model_notes, what="the note on who wanted the name")
        [model] = client.models("times")
        assert f"is taken twice: by {directory / 'times.keras'} and by {directory / 'times'}; " in model.model_notes[0]
        assert (model.version, model.digest) == (1, before.digest)

        golden: dict[str, Any] = {"inputs/x": X, "outputs/y": X * 7}
        np.savez(directory / "times.golden.npz", **golden)
        wait_until(lambda: client.models("times")[0].error, what="the refusal")
        [model] = client.models("times")
        assert model.is_ready
        assert "times.golden.npz" in model.error
        np.savez(directory / "times.golden.npz", **{**golden, "outputs/y": X})
        wait_until(lambda: client.models("times")[0].gate.startswith("passed"), what="the reload")
        assert client.models("times")[0].error == ""


def test_a_version_that_is_not_listed_or_too_large_is_refused_and_the_old_one_stays(
    start_daemon: Callable[..., DaemonProcess], run_directory: Path, versions: Path
) -> None:
    whole = versions / "1" / "model.keras"
    digest, size = f"sha256:{hashlib.sha256(whole.read_bytes()).hexdigest()}", whole.stat().st_size
    for name in ("listed", "small"):
        shutil.copytree(versions / "1", run_directory / name / "1")
        shutil.copytree(versions / "2", run_directory / name / "2.tmp")
    configuration = run_directory / "predictd.toml"
    listed = f'[models.listed]\npath = "listed"\ndigests = ["{digest}"]'
    configuration.write_text(f'{listed}\n[models.small]\npath = "small"\nmax_bytes = {size}\n')
    other = run_directory / "listed" / "2.tmp" / "model.keras"
    got = f"sha256:{hashlib.sha256(other.read_bytes()).hexdigest()}"
    with zipfile.ZipFile(run_directory / "small" / "2.tmp" / "model.keras", "a") as archive:
        archive.writestr("more", b"0" * size)
    larger = (run_directory / "small" / "2.tmp" / "model.keras").stat().st_size
    daemon = start_daemon("--config", configuration)
    with daemon.client() as client:
        assert [row.state for row in client.models("listed") + client.models("small")] == ["ready"] * 2
        for name, said in (
            ("listed", f"expected digest {digest}, got {got}; if the file is the right one, add that to the model's"),
            ("small", f"has {larger} bytes, and model 'small' may have max_bytes = {size}; raise that"),
        ):
            directory = run_directory / name
            (directory / "2.tmp").rename(directory / "2")
            with pytest.raises(predictd.ModelLoadError, match=re.escape(said)):
                client.reload(name)
            newest, oldest = client.models(name)
            assert (newest.version, newest.state, oldest.version, oldest.state) == (2, "failed", 1, "ready")
            assert newest.error.startswith(f"{directory / '2' / 'model.keras'}: ")
            assert said in newest.error
            np.testing.assert_array_equal(client.predict(name, X).outputs, X)
            assert client.predict(name, X).receipt.version == 1
    assert "Traceback" not in daemon.log


def test_without_a_watch_a_server_with_nothing_to_serve_ends(
    start_daemon: Callable[..., DaemonProcess], run_directory: Path, versions: Path
) -> None:
    directory = run_directory / "times" / "1"
    shutil.copytree(versions / "1", directory)
    golden: dict[str, Any] = {"inputs/x": X, "outputs/y": X * 7}
    np.savez(directory / "golden.npz", **golden)
    daemon = start_daemon(run_directory / "times", wait=False)
    assert daemon.wait() == 65, daemon.log
    assert "golden.npz" in daemon.log
    assert "no model could be loaded" in daemon.log
