"""Orders to a fake: the states, labels and errors that a daemon would show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import predictd
from predictd.testing import FakeModel, in_process

PIXELS, SCORES = ("float32", (None, 4)), ("float32", (None, 2))
X = np.ones((1, 4), "float32")


def fake(version: int, **fields: Any) -> FakeModel:
    return FakeModel("m", inputs=PIXELS, outputs=SCORES, version=version, **fields)


def test_versions_are_loaded_labelled_and_unloaded() -> None:
    with in_process(fake(1), fake(2, state="available")):
        client = predictd.Client()
        assert client.predict("m", X).receipt.version == 1
        with pytest.raises(predictd.VersionNotFoundError, match="is not served now: it is available"):
            client.predict("m", X, version=2)
        with pytest.raises(predictd.VersionNotFoundError, match="which is not loaded"):
            client.label("m", "stable", 2)
        assert client.load("m").done == ("model m version 2 is ready",)
        assert client.predict("m", X).receipt.version == 2
        assert client.label("m", "stable", 1).models[1].labels == ("stable",)
        assert client.predict("m", X, version="stable").receipt.version == 1
        client.label("m", "stable", None)
        assert client.unload("m", 2).done == ("model m version 2: unloaded",)
        assert client.predict("m", X).receipt.version == 1
        client.unload("m")
        with pytest.raises(predictd.ModelNotFoundError, match="load it: `predictd load m`"):
            client.predict("m", X)
        assert len(client.reload().done) == 2


def test_what_is_not_there_and_what_fails() -> None:
    with in_process(fake(1), fake(2, state="failed", error="cut short")):
        client = predictd.Client()
        with pytest.raises(predictd.ModelNotFoundError):
            client.load("nope")
        with pytest.raises(predictd.VersionNotFoundError, match="there are: 1, 2"):
            client.load("m", 9)
        with pytest.raises(predictd.ModelLoadError, match="cut short"):
            client.load("m", 2)
        with pytest.raises(predictd.ConfigError, match="field model"):
            client.load(3)  # type: ignore[arg-type]
        with pytest.raises(predictd.ConfigError, match="field version"):
            client.unload("m", "stable")  # type: ignore[arg-type]


def test_version_0_is_a_version_and_not_the_newest() -> None:
    with in_process(fake(0, state="available"), fake(1, state="available")):
        assert predictd.Client().load("m", 0).done == ("model m version 0 is ready",)


def test_a_label_that_is_not_there_can_not_be_taken_away() -> None:
    with in_process(fake(1, labels=("stable",)), fake(2, labels=("canary",))):
        client = predictd.Client()
        with pytest.raises(predictd.VersionNotFoundError, match="no label 'old'; it has 'canary', 'stable'"):
            client.label("m", "old", None)
        client.label("m", "stable", None)
        with pytest.raises(predictd.VersionNotFoundError, match="no label 'stable'; it has 'canary'"):
            client.label("m", "stable", None)
