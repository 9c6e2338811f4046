"""What is kept out of messages by which settings, and what stands there instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from celery import Celery

from predictd_celery import encode_arrays
from predictd_celery.claimed_trees import claims_in, with_claims
from predictd_celery.claims.claim import Claim
from predictd_celery.claims.claim_check import claim_check, use_claim_check
from predictd_celery.claims.claim_settings import ClaimSettings, claim_settings
from predictd_celery.claims.claimed_array import ClaimedArray
from predictd_celery.claims.directory_store import DirectoryStore
from predictd_celery.claims.stores import open_store
from predictd_celery.message_codec import decode, encode
from predictd_celery.short_repr import short_repr
from predictd_celery.tasks import RESULTS
from predictd_celery.tensor_json import decode_arrays
from predictd_proto.errors import (
    ConfigError,
    RemoteProtocolError,
)

DIGEST = "a" * 64


def test_nothing_is_kept_out_unless_somebody_says_so(fresh_claim_check: None) -> None:
    assert claim_check().settings == ClaimSettings(store=None, check_bytes=None, expires_s=86_400)
    assert isinstance(decode(encode(np.zeros(1 << 20))), np.ndarray)


def test_an_app_s_settings_go_before_the_environment(fresh_claim_check: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTD_CLAIM_STORE", "redis://elsewhere")
    monkeypatch.setenv("PREDICTD_CLAIM_CHECK_BYTES", "1000")
    assert claim_check().settings.check_bytes == 1000
    app = Celery("one", set_as_current=False)
    app.conf.update(predictd_claim_store="file:///srv/claims", predictd_claim_check_bytes=7)
    use_claim_check(app)
    assert claim_check().settings == ClaimSettings(store="file:///srv/claims", check_bytes=7)


def test_django_s_namespace_is_understood(fresh_claim_check: None) -> None:
    app = Celery("two", set_as_current=False)
    app.config_from_object(
        {"CELERY_PREDICTD_CLAIM_STORE": "redis://x", "CELERY_PREDICTD_CLAIM_CHECK_BYTES": 5}, namespace="CELERY"
    )
    use_claim_check(app)
    assert claim_check().settings == ClaimSettings(store="redis://x", check_bytes=5)


def test_two_apps_that_differ_are_an_error(fresh_claim_check: None) -> None:
    apps = [Celery(f"app{number}", set_as_current=False) for number in range(3)]
    for number, app in enumerate(apps[:2]):
        app.conf.predictd_claim_store = f"redis://host{number}"
    for app in apps:
        use_claim_check(app)
    with pytest.raises(ConfigError, match="different claim settings"):
        claim_check()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"predictd_claim_check_bytes": "5"}, "no predictd_claim_store"),
        ({"predictd_claim_store": "redis://x", "predictd_claim_check_bytes": "many"}, "whole number, got 'many'"),
        ({"predictd_claim_store": "redis://x", "predictd_claim_check_bytes": -1}, "from 1 on, got -1"),
        ({"predictd_claim_store": "redis://x", "predictd_claim_check_bytes": 0}, "from 1 on, got 0"),
        ({"predictd_claim_store": "redis://x", "predictd_claim_expires_s": -1}, "seconds from 1"),
        ({"predictd_claim_store": "redis://x", "predictd_claim_expires_s": 0}, "to 315360000, got 0"),
        ({"predictd_claim_store": "redis://x", "predictd_claim_expires_s": 1e10}, "seconds from 1"),
    ],
)
def test_a_wrong_setting_names_itself(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        claim_settings(settings, {})


def test_an_app_s_zero_is_no_silence(fresh_claim_check: None, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("zero", set_as_current=False)
    app.conf.update(predictd_claim_store="", predictd_claim_expires_s=0)
    use_claim_check(app)
    with pytest.raises(ConfigError, match="predictd_claim_expires_s: expected seconds from 1"):
        claim_check()


@pytest.mark.parametrize("url", ["http://x", "claims", "file://host/claims", "file:claims", "amqp://user:geheim@x"])
def test_a_url_that_names_no_store_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="expected redis://") as error:
        open_store(url)
    assert "geheim" not in str(error.value)


def test_a_claim_without_a_store_says_what_to_set(fresh_claim_check: None) -> None:
    array = ClaimedArray(Claim(DIGEST, "int8", (9,), 9, 1))
    with pytest.raises(ConfigError, match="PREDICTD_CLAIM_STORE"):
        array.array()


def test_a_forked_child_opens_its_own_store(
    fresh_claim_check: None, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDICTD_CLAIM_STORE", f"file://{directory}")
    code = """
import os
from predictd_celery.claims.claim_check import claim_check
mine = claim_check()
assert claim_check() is mine
pid = os.fork()
if not pid:
    os._exit(claim_check() is mine)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# What stands in a message.


@pytest.fixture
def claiming(fresh_claim_check: None, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Arrays of 1000 bytes and more are claims; returns how often the store was read."""
    monkeypatch.setenv("PREDICTD_CLAIM_STORE", f"file://{directory}")
    monkeypatch.setenv("PREDICTD_CLAIM_CHECK_BYTES", "1000")
    reads: list[Claim] = []
    get = DirectoryStore.get

    def counted(self: DirectoryStore, claim: Claim) -> Any:
        reads.append(claim)
        return get(self, claim)

    monkeypatch.setattr(DirectoryStore, "get", counted)
    return lambda: len(reads)


BIG = np.arange(3000, dtype=np.float32).reshape(30, 100)


def test_large_arrays_leave_the_message_and_reading_it_fetches_nothing(claiming: Callable[[], int]) -> None:
    payload = encode([{"big": BIG, "small": np.arange(3)}, (BIG * 2,)])
    assert len(payload) < 600
    (tree, (double,)) = decode(payload)
    assert isinstance(tree["big"], ClaimedArray)
    assert (tree["big"].shape, tree["big"].ndim, tree["big"].dtype.name) == ((30, 100), 2, "float32")
    assert repr(tree["big"]) == "<float32[30, 100] (12000 bytes), claimed>"
    np.testing.assert_array_equal(tree["small"], np.arange(3))
    assert encode([tree, (double,)]) == payload
    assert claiming() == 0
    np.testing.assert_array_equal(tree["big"].array(), BIG)
    np.testing.assert_array_equal(tree["big"].array(), BIG)
    assert claiming() == 1
    np.testing.assert_array_equal(double, BIG * 2)


def test_the_stand_in_is_taken_for_an_array_by_numpy(claiming: Callable[[], int]) -> None:
    it = decode(encode(BIG))
    np.testing.assert_array_equal(np.asarray(it), BIG)
    np.testing.assert_array_equal(np.asarray(it, np.float64), BIG.astype(np.float64))
    np.testing.assert_array_equal(it / 255, BIG / 255)
    np.testing.assert_array_equal(1 + it, BIG + 1)
    np.testing.assert_array_equal(it[3:5, ::2], BIG[3:5, ::2])
    np.testing.assert_array_equal(np.concatenate([it, it]), np.concatenate([BIG, BIG]))
    np.testing.assert_array_equal(it.reshape(100, 30).T, BIG.reshape(100, 30).T)
    assert (len(it), it.mean(), np.sum(it)) == (30, BIG.mean(), BIG.sum())
    assert [row[0] for row in it][:2] == [0, 100]
    it += 1
    np.testing.assert_array_equal(it, BIG + 1)
    with pytest.raises(ValueError, match="without a copy"):
        decode(encode(BIG)).__array__(np.float64, copy=False)
    single = decode(encode(np.full((), "x" * 2000, object)))
    assert single.dtype == object


def test_trees_keep_their_form_and_json_has_claims_too(claiming: Callable[[], int]) -> None:
    tree = {"a": [BIG, 1], "b": (np.arange(2), BIG), "c": "x"}
    sent = with_claims(tree)
    assert [claim.shape for claim in claims_in(sent)] == [(30, 100)] * 2
    assert isinstance(sent["b"], tuple)
    assert sent["b"][0] is tree["b"][0]
    assert with_claims(sent)["a"][0] is sent["a"][0]
    in_json = encode_arrays(sent)
    assert claims_in(in_json) == claims_in(sent)
    assert encode_arrays(with_claims(in_json)) == in_json
    for came in (sent, in_json):
        back = decode_arrays(came)
        np.testing.assert_array_equal(back["a"][0], BIG)
        np.testing.assert_array_equal(back["b"][1], BIG)
        assert back["c"] == "x"


def test_the_ready_tasks_put_large_results_away_too(claiming: Callable[[], int]) -> None:
    in_json = RESULTS["ndarray"]({"large": BIG, "small": np.arange(2)})
    assert set(in_json["large"]) == {"__claim__"}
    assert set(in_json["small"]) == {"__ndarray__", "dtype", "shape"}
    np.testing.assert_array_equal(decode_arrays(in_json)["large"], BIG)


def test_what_is_shown_of_arrays_is_short_and_fetches_nothing(claiming: Callable[[], int]) -> None:
    args = (BIG, "mlp", {"x": [np.zeros((2, 3), np.int8)]})
    assert short_repr(args) == "(<float32[30, 100] 12.0 kB>, 'mlp', {'x': [<int8[2, 3] 6 B>]})"
    assert short_repr(with_claims(args)).startswith("(<float32[30, 100] (12000 bytes), claimed>, 'mlp'")
    assert short_repr(encode_arrays(args)).startswith("[<float32[30, 100]>, 'mlp', {'x': [<int8[2, 3]>]}")
    assert "claim" in short_repr(encode_arrays(with_claims(args)))
    assert short_repr([1, "two"]) == "[1, 'two']"
    assert short_repr([BIG] * 1000).endswith("... 1000 in all]")
    assert short_repr(("a", [[0.5] * 64])) == "('a', [[0.5, 0.5, 0.5, ... 64 in all]])"
    assert short_repr([0] * 16) == str([0] * 16)
    assert len(short_repr(["text" * 1000])) < 1100
    loop: list[Any] = []
    loop.append({"x": loop})
    assert len(short_repr(loop)) < 100
    assert claiming() == 0


def test_a_claim_in_json_is_checked_as_any_other() -> None:
    with pytest.raises(RemoteProtocolError, match="its name is a digest"):
        decode_arrays({"__claim__": ["../../etc/passwd", "int8", [1], 1, 1]})
    with pytest.raises(RemoteProtocolError, match="expected name, dtype"):
        decode_arrays({"__claim__": "x"})
