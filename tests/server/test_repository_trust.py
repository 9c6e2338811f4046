"""Sizes, digests and memory are asked before anything is read; refusals say what was expected, got, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictd_proto.errors import ModelLoadError
from predictd_server.models.contents import size_bytes
from predictd_server.models.settings import ModelSettings
from predictd_server.models.trust import check_digest, check_memory, check_size
from tests.model_files import keras_file, saved_model
from tests.server.repositories import the_one


def test_a_digest_that_is_not_allowed_is_refused_and_both_are_named(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    file = the_one(path).versions[1]
    good, bad = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    check_digest(file, ModelSettings(name="m", path=path), bad)
    check_digest(file, ModelSettings(name="m", path=path, digests=(good, bad)), bad)
    with pytest.raises(ModelLoadError, match=f"expected digest {good}, got {bad}; .*add that to the model's `digests`"):
        check_digest(file, ModelSettings(name="m", path=path, digests=(good,)), bad)


def test_a_model_that_is_too_large_is_refused(tmp_path: Path) -> None:
    saved_model(tmp_path / "1", contents=b"x" * 100)
    found = the_one(tmp_path, max_bytes=99)
    with pytest.raises(ModelLoadError, match="has 100 bytes, and model 'm' may have max_bytes = 99"):
        check_size(found.versions[1], found.settings, size_bytes(tmp_path / "1"))
    check_size(found.versions[1], the_one(tmp_path, max_bytes=100).settings, size_bytes(tmp_path / "1"))
    check_size(found.versions[1], the_one(tmp_path).settings, 1 << 60)


def test_a_model_that_can_t_fit_is_refused(tmp_path: Path) -> None:
    saved_model(tmp_path / "1", contents=b"x" * 100)
    file = the_one(tmp_path).versions[1]
    check_memory(file, size_bytes=100, used_bytes=1000, limit_bytes=0)
    check_memory(file, size_bytes=100, used_bytes=800, limit_bytes=1000)
    text = (
        r"about 200 bytes, 2 times the 100 of its files: until the load ends its weights are there as .* \(an "
        r"estimate, by the peaks of models that were measured\)\. 199 of memory_limit_bytes = 1000 are left: the "
        r"process has 801 in memory now, libraries and all"
    )
    with pytest.raises(ModelLoadError, match=text) as refusal:
        check_memory(file, size_bytes=100, used_bytes=801, limit_bytes=1000)
    assert refusal.value.detail == {"needs_bytes": 200, "left_bytes": 199}
    with pytest.raises(ModelLoadError, match=r"\. 0 of memory_limit_bytes"):
        check_memory(file, size_bytes=100, used_bytes=2000, limit_bytes=1000)
