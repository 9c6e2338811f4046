"""Bulk scoring by three hosts that fail: each row comes out once, in order, whatever was cut, killed and restarted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.celery.scoring.score_process import ScoreProcess
from tests.redis_process import KeptRedis
from tests.scale_out.cluster import Station, shared_folder
from tests.scale_out.doubling import DIGEST
from tests.scale_out.network import network, why_not

NO_NETWORK = why_not()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.redis,
    pytest.mark.tensorflow,
    pytest.mark.skipif(NO_NETWORK is not None, reason=str(NO_NETWORK)),
]

REDIS_PORT = 6379
CHUNKS, CHUNK_ROWS = 250, 2
#: So that what a dead worker holds is handed out again while the test waits. A retry waits for a tenth of it.
SETTINGS = {"PREDICTD_VISIBILITY_TIMEOUT_S": "5", "PREDICTD_TASK_MAX_RETRIES": "200"}


@pytest.fixture(scope="module")
def stations(models: Path) -> Iterator[tuple[KeptRedis, list[Station]]]:
    """Three hosts: the broker on the first, a real daemon on the last, fakes of it on the others."""
    file = models / "sequence.keras"
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    fake = ["predictd.testing", "serve", "tests.scale_out.doubling:SEQUENCE"]
    with shared_folder() as folder, network("red", "green", "blue") as hosts, ExitStack() as stack:
        redis = KeptRedis(folder, hosts[0].address, REDIS_PORT, hosts[0].command())
        stack.callback(redis.kill)
        daemons = [fake, fake, ["predictd", "serve", str(file)]]
        found = []
        for host, daemon in zip(hosts, daemons, strict=True):
            settings = {DIGEST: digest} if daemon is fake else {}
            found.append(Station(host, folder, redis.url, daemon, **SETTINGS, **settings))
            stack.callback(found[-1].kill)
        for station in found:
            station.wait_until_ready()
        yield redis, found


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as found:
        yield found


def test_each_row_comes_out_once_whatever_fails(stations, tmp_path_factory, stack: ExitStack) -> None:
    redis, (red, green, blue) = stations
    rows = (np.arange(CHUNKS * CHUNK_ROWS * 12, dtype=np.float32) / 7).reshape(-1, 3, 4)
    runs = []
    # Side by side: one whose rows travel in messages, one whose workers read and write the files.
    for options in [], ["--shared-folder"]:
        folder = tmp_path_factory.mktemp("run")
        np.save(folder / "a.npy", rows)
        words = ["--celery", *options, "--chunk-rows", CHUNK_ROWS, "--window", 8, "--quiet"]
        settings = {**SETTINGS, "PREDICTD_BROKER_URL": redis.url}
        run = ScoreProcess("sequence", folder / "a.npy", folder / "out", *words, prefix=red.host.command(), **settings)
        runs.append(stack.enter_context(run))

    def wait_for_chunks(count: int) -> None:
        for run in runs:
            run.wait_for_chunks(count)

    wait_for_chunks(10)
    red.daemon.kill()
    blue.host.cut_off()
    wait_for_chunks(20)
    red.daemon.start()
    green.crash_worker()
    wait_for_chunks(30)
    # Blue's connections are to a Redis that is no more, and nothing tells it so.
    redis.kill()
    redis.start()
    before = blue.scored
    blue.host.plug_in()
    for run in runs:
        assert f"{len(rows)} rows in {CHUNKS} chunks: a.npy in" in run.told()
        np.testing.assert_array_equal(np.load(run.out / "a.npy"), rows * 2)
        manifest = json.loads((run.out / "manifest.json").read_text())
        output = manifest["outputs"]["a.npy"]
        digest = hashlib.sha256((run.out / "a.npy").read_bytes()).hexdigest()
        assert (output["rows"], output["sha256"], manifest["bad_rows"]) == (len(rows), digest, [])
    for station in (red, green, blue):
        station.wait_until_ready()
        assert station.worker.process.poll() is None, station.worker.log
    assert blue.scored > before, blue.worker.log
