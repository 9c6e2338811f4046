"""Models come and go in a real daemon under load: no request fails, and each answer is by one version alone."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import predictd
from predictd.cli.commands import main
from tests.conftest import CHECKOUT
from tests.daemon_process import DaemonProcess, short_directory
from tests.make_models import SLEEP_BASE
from tests.make_versions import WIDTH
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

COUNT = 4
PATIENCE_S = 60.0

#: One row; some; more than one batch holds, so that they are run in parts.
SIZES = (1, 7, 150)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with versions 1 to `COUNT` of a model that answers its inputs times its version."""
    directory = tmp_path_factory.mktemp("versions")
    command = [sys.executable, "-m", "tests.make_versions", str(directory), str(COUNT)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=240)
    return directory


@pytest.fixture(scope="module")
def server(versions: Path, models: Path) -> Iterator[DaemonProcess]:
    """One daemon for all of these tests; each says first what there is of the model `times`."""
    with short_directory() as name:
        directory = Path(name)
        shutil.copytree(versions / "1", directory / "times" / "1")
        process = DaemonProcess(directory, f"{directory}/times", f"{models}/sleeper").start()
        yield process
        assert process.stop() == 0, process.log


@pytest.fixture
def times(server: DaemonProcess, versions: Path) -> Iterator[Callable[..., Path]]:
    """Say what there is of the model, and have it served: `times(1, 2)`; returns its directory."""
    directory = server.directory / "times"

    def put(*numbers: int) -> Path:
        shutil.rmtree(directory)
        for number in numbers:
            shutil.copytree(versions / str(number), directory / str(number))
        with server.client() as client:
            client.reload("times")
            wait_until(lambda: "unloading" not in {row.state for row in client.models("times")}, what="old ones leave")
        return directory

    yield put
    with server.client() as client:
        for label in {label for row in client.models("times") for label in row.labels}:
            client.label("times", label, None)


@pytest.fixture
def client(server: DaemonProcess) -> Iterator[predictd.Client]:
    with server.client() as client:
        yield client


def rows(count: int) -> np.ndarray[Any, Any]:
    return np.arange(count * WIDTH, dtype="float32").reshape(count, WIDTH) % 97


def version_of(client: predictd.Client, version: int | str | None = None) -> int:
    """Return which version answers."""
    return client.predict("times", rows(1), version=version).receipt.version


class Callers:
    """Threads that ask without a pause, and check each answer against the version that it says it is by."""

    def __init__(self, server: DaemonProcess, **options: Any) -> None:
        self.versions: list[int] = []
        self.failures: list[BaseException] = []
        self._options = options
        self._is_over = False
        self._client = server.client()
        self._threads = [threading.Thread(target=self._ask, args=(SIZES[i % len(SIZES)],)) for i in range(4)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._client.close()
        if not any(exception):
            assert not self.failures, self.failures[0]

    def wait_for(self, version: int) -> None:
        """Wait until a version answers all of them."""
        wait_until(lambda: self.failures or set(self.versions[-20:]) == {version}, what=f"answers by version {version}")

    def _ask(self, count: int) -> None:
        x = rows(count)
        try:
            while not self._is_over:
                answer = self._client.predict("times", x, **self._options)
                np.testing.assert_array_equal(answer.outputs, x * answer.receipt.version)
                self.versions.append(answer.receipt.version)
        except BaseException as error:
            self.failures.append(error)


def test_under_load_new_versions_come_and_old_ones_go_and_no_request_fails(
    server: DaemonProcess, times: Callable[..., Path], versions: Path, client: predictd.Client
) -> None:
    directory = times(1)
    with Callers(server) as callers:
        for number in range(2, COUNT + 1):
            shutil.copytree(versions / str(number), directory / str(number))
            assert client.load("times").done[0].startswith(f"model times version {number} is ready")
            callers.wait_for(number)
            wait_until(
                lambda: {row.state for row in client.models("times")[1:]} == {"available"}, what="older ones leave"
            )
    assert set(callers.versions) == set(range(1, COUNT + 1))


def test_under_load_the_files_of_a_version_change_again_and_again_and_no_request_fails(
    server: DaemonProcess, times: Callable[..., Path], client: predictd.Client
) -> None:
    file = times(1) / "1" / "model.keras"
    with Callers(server) as callers:
        for _ in range(10):
            callers.versions.clear()
            file.touch()
            assert "is ready" in client.load("times", 1).done[0]
            callers.wait_for(1)
    assert server.log.count("model times version 1: unloaded") >= 10


def test_what_comes_and_goes_leaves_no_memory_behind(
    server: DaemonProcess, times: Callable[..., Path], client: predictd.Client
) -> None:
    file = times(1) / "1" / "model.keras"

    def turn(count: int) -> int:
        for _ in range(count):
            file.touch()
            client.load("times", 1)
        wait_until(lambda: "unloading" not in {row.state for row in client.models("times")}, what="old ones leave")
        resident = client.status().rss_bytes
        assert resident is not None
        return resident

    before = turn(10)
    # A session of this model takes 1 MB: forty that stayed would be seen.
    assert turn(40) - before < 20e6


def test_only_the_loader_steps_back(server: DaemonProcess, times: Callable[..., Path], client: predictd.Client) -> None:
    times(1, 2)
    niceness: list[int] = []
    for stat in Path(f"/proc/{server.pid}/task").glob("*/stat"):
        niceness.append(int(stat.read_text().rpartition(")")[2].split()[16]))
    assert sorted(niceness)[-1] == sorted(niceness)[0] + 10
    assert niceness.count(max(niceness)) == 1, "threads that runs share inherited the loader's niceness"


def test_the_last_version_is_unloaded_with_work_in_flight(client: predictd.Client) -> None:
    # The pump runs what it takes for short itself, and meets nobody new meanwhile: now it knows better.
    client.predict("sleeper", np.array([SLEEP_BASE + 0.5], "float32"))
    seconds = np.array([SLEEP_BASE + 4.0], "float32")
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(client.predict, "sleeper", seconds)
        wait_until(lambda: client.status().running_ms > 0, what="the run begins")
        unloading = pool.submit(client.unload, "sleeper")
        wait_until(lambda: client.models("sleeper")[0].state == "unloading", what="the order arrives")
        with pytest.raises(predictd.ModelNotFoundError, match=r"is not served now.*predictd load sleeper"):
            client.predict("sleeper", seconds)
        assert not unloading.done()
        np.testing.assert_array_equal(working.result(PATIENCE_S).outputs, seconds)
        assert "model sleeper version 1: unloaded" in unloading.result(PATIENCE_S).done[0]
    assert client.models("sleeper")[0].state == "available"
    assert "came back" in client.models("sleeper")[0].notes[0]
    assert client.load("sleeper").models[0].is_ready


@pytest.mark.parametrize("broken", ["empty", "cut short", "no model in it", "a link to nowhere"])
def test_a_broken_version_leaves_the_old_one_and_tells_why(
    times: Callable[..., Path], versions: Path, client: predictd.Client, broken: str
) -> None:
    directory = times(1)
    path = directory / "2"
    whole = (versions / "2" / "model.keras").read_bytes()
    if broken == "a link to nowhere":
        path.symlink_to(directory / "nowhere")
    else:
        path.mkdir()
        contents = {"empty": b"", "cut short": whole[: len(whole) // 2]}
        (path / ("model.keras" if broken in contents else "README")).write_bytes(contents.get(broken, b"about"))
    with pytest.raises(predictd.ModelLoadError) as failure:
        client.load("times")
    newest, oldest = (row for row in client.status().models if row.name == "times")
    assert (newest.version, newest.state) == (2, "failed")
    assert newest.error in str(failure.value)
    assert (oldest.version, oldest.state) == (1, "ready")
    assert version_of(client) == 1


def test_pins_labels_and_the_default(times: Callable[..., Path], client: predictd.Client) -> None:
    times(1, 2, 3)
    assert [version_of(client), version_of(client, 3)] == [3, 3]
    with pytest.raises(predictd.VersionNotFoundError, match=r"version 1 .*available.*predictd load times 1"):
        version_of(client, 1)
    with pytest.raises(predictd.VersionNotFoundError, match="which is not loaded; loaded: 3"):
        client.label("times", "stable", 1)
    client.load("times", 1)
    client.label("times", "stable", 1)
    assert [version_of(client), version_of(client, "stable")] == [3, 1]
    assert [row.labels for row in client.models("times")] == [(), (), ("stable",)]
    client.unload("times", 3)
    assert version_of(client) == 1


def test_orders_name_models_and_never_paths(client: predictd.Client, versions: Path) -> None:
    for name in (str(versions / "2"), "../times", "elsewhere"):
        with pytest.raises(predictd.ModelNotFoundError, match="configured with"):
            client.load(name)


def test_orders_from_the_shell(server: DaemonProcess, times: Callable[..., Path], versions: Path) -> None:
    directory = times(1)
    shutil.copytree(versions / "2", directory / "2")

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, [*arguments, "--endpoint", server.endpoint])
        assert result.exit_code == code, result.output
        return result.output

    assert "model times version 2 is ready" in run("load", "times")
    assert "version 1 is ready" in run("load", "times", "1")
    assert "points at version 1" in run("label", "times", "stable", "1")
    assert "is gone" in run("label", "times", "stable", "--remove")
    assert "version 2: unloaded" in run("unload", "times", "2")
    assert "version 2 is ready" in run("reload")
    assert '"done"' in run("reload", "times", "--json")
    assert "no version 9" in run("load", "times", "9", code=1)


def test_orders_from_coroutines(server: DaemonProcess, times: Callable[..., Path]) -> None:
    times(1, 2)

    async def orders() -> list[str]:
        async with predictd.AsyncClient(server.endpoint) as client:
            loaded = await client.load("times", 1)
            labelled = await client.label("times", "canary", 1)
            gone = await client.label("times", "canary", None)
            unloaded = await client.unload("times", 1)
            reloaded = await client.reload("times")
            return [text for result in (loaded, labelled, gone, unloaded, reloaded) for text in result.done]

    assert [text.partition(";")[0] for text in asyncio.run(orders())][1:] == [
        "model times: the label 'canary' points at version 1",
        "model times: the label 'canary' is gone",
        "model times version 1: unloaded",
        "model times: is served as it is wanted",
    ]


def test_status_is_told_while_an_order_is_carried_out(
    server: DaemonProcess, times: Callable[..., Path], client: predictd.Client
) -> None:
    file = times(1) / "1" / "model.keras"
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            file.touch()
            loads = [pool.submit(client.load, "times", 1) for _ in range(8)]
            while not all(load.done() for load in loads):
                assert client.status().responsive
            assert all(load.result().models for load in loads)
