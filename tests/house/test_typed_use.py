"""A user's own type checker knows what predictd's calls take and give, and finds what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

RIGHT = """
from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np

import predictd

client: predictd.Client = predictd.Client("tcp://127.0.0.1:7000", timeout_ms=500, retries=predictd.Retries(resends=2))
model: predictd.RemoteModel = predictd.RemoteModel("digits", client=client, version="stable")
x = np.zeros((3, 64), np.float32)


def batches() -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    yield x, 1


def use() -> float:
    scores = model.predict(x, batch_size=32, verbose="auto", steps=None)
    more: list[Any] = [model.predict(batches()), model([x]), model.predict_on_batch({"pixels": x})]
    more.append(scores)
    specs: list[predictd.TensorSpec] = model.inputs
    first: int | None = specs[0].shape[0]
    prediction: predictd.Prediction = client.predict("digits", x, cast=True)
    receipt: predictd.Receipt = prediction.receipt
    future: Future[predictd.Prediction] = client.submit("digits", x)
    try:
        version: int = future.result().receipt.version
    except predictd.OverloadedError as error:
        return float(error.retry_after_ms or version_of(client) or first or 0)
    for answered in client.map("digits", [x, x], window=2):
        version = max(version, answered.receipt.version)
    return receipt.server_ms + version + len(more)


def version_of(client: predictd.Client) -> int:
    metadata: predictd.ModelMetadata = client.metadata("digits")
    status: predictd.ServerStatus = client.status(timeout_ms=100)
    return metadata.version if status.is_ready else 0


async def use_async() -> int:
    async with predictd.AsyncClient("tcp://127.0.0.1:7000") as client:
        prediction: predictd.Prediction = await client.predict("digits", x)
        return prediction.receipt.version
"""

WRONG = {
    'predictd.RemoteModel("digits").predict([1], batch_size="32")': "arg-type",
    'predictd.RemoteModel("digits", "tcp://127.0.0.1:7000")': "call-arg|misc",
    'predictd.Client().predict("digits", [1]).receipt.version + "1"': "operator",
    'predictd.Client().predict("digits", [1]).output': "attr-defined",
    'predictd.Client(timeout="1s")': "call-arg",
    "predictd.Cleint()": "attr-defined",
}


def checked(folder: Path, program: str) -> list[str]:
    """Return mypy's complaints about a program of somebody who has predictd installed."""
    path = folder / "program.py"
    path.write_text(program)
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder), str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
    return ran.stdout.splitlines()


def test_right_and_wrong_use(tmp_path: Path) -> None:
    assert checked(tmp_path, RIGHT) == []
    found = checked(tmp_path, "\n".join(["import predictd", *WRONG]))
    by_line = {int(match[1]): line for line in found if (match := re.match(r"program\.py:(\d+): error", line))}
    for number, (line, kind) in enumerate(WRONG.items(), start=2):
        assert re.search(rf"\[({kind})\]", by_line.get(number, "")), f"{line}: {by_line.get(number)}"
