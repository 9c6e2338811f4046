"""Arrays through real workers and a real Redis: the serializer, the claim check, JSON, and what monitors see of it."""

from __future__ import annotations

import contextlib
import datetime
import json
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from celery import Celery, chain, chord, group
from celery.result import GroupResult

from predictd_celery import decode_arrays, encode_arrays
from predictd_celery.claimed_trees import with_claims
from predictd_celery.claims import claim_check as claim_check_module
from predictd_celery.claims.claim_check import ClaimCheck
from predictd_celery.claims.claim_settings import ClaimSettings
from predictd_celery.claims.claimed_array import ClaimedArray
from predictd_celery.claims.redis_store import PREFIX
from predictd_proto.errors import ClaimExpiredError
from tests.celery.array_tasks_producer import tasks_of
from tests.celery.redis_contents import body_in_broker, broker_of, result_in_redis
from tests.celery.worker_events import Events
from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import short_directory
from tests.ports import free_port
from tests.redis_process import running_redis

pytestmark = [pytest.mark.integration, pytest.mark.redis]

TASKS = "tests.celery.array_tasks"
CHECK_BYTES = 100_000
SMALL = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
BIG = np.arange(50_000, dtype=np.float32).reshape(500, 100)


@contextlib.contextmanager
def running_worker(broker_url: str, serializer: str, claims_url: str, *options: str) -> Iterator[WorkerProcess]:
    with short_directory() as name:
        process = WorkerProcess(
            Path(name),
            broker_url,
            "ipc:///nowhere",
            *options,
            app=TASKS,
            SERIALIZER=serializer,
            PREDICTD_CLAIM_STORE=claims_url,
            PREDICTD_CLAIM_CHECK_BYTES=str(CHECK_BYTES),
            PREDICTD_TASK_MAX_RETRY_DELAY_S="1",
        )
        process.app.conf.update(task_serializer=serializer, result_serializer=serializer)
        process.app.conf.accept_content = ["json", "predictd"]
        try:
            process.wait_for_log(" ready.")
            yield process
            assert process.stop() == 0, process.log
        finally:
            process.kill()


@pytest.fixture(scope="module")
def claims_url(new_broker_url: Callable[[], str]) -> str:
    return new_broker_url()


@pytest.fixture(scope="module")
def claims(claims_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(claims_url) as client:
        yield client


@pytest.fixture(scope="module")
def worker(new_broker_url: Callable[[], str], claims_url: str) -> Iterator[WorkerProcess]:
    """Takes JSON and predictd, answers in predictd, and sends events."""
    with running_worker(new_broker_url(), "predictd", claims_url, "-E") as process:
        yield process


@pytest.fixture(scope="module")
def json_worker(new_broker_url: Callable[[], str], claims_url: str) -> Iterator[WorkerProcess]:
    """Takes JSON alone, and answers in it."""
    with running_worker(new_broker_url(), "json", claims_url) as process:
        yield process


@pytest.fixture(autouse=True)
def own_claims(claims_url: str, monkeypatch: pytest.MonkeyPatch) -> ClaimCheck:
    """This process enqueues with the workers' store and size."""
    check = ClaimCheck(ClaimSettings(store=claims_url, check_bytes=CHECK_BYTES))
    monkeypatch.setattr(claim_check_module, "claim_check", lambda: check)
    for module in (
        "predictd_celery.message_codec",
        "predictd_celery.claimed_trees",
        "predictd_celery.claims.claimed_array",
    ):
        monkeypatch.setattr(f"{module}.claim_check", lambda: check)
    return check


def fetches(claims: redis.Redis) -> int:
    """Return how often a claim has been fetched from this Redis, by whomever."""
    stats: dict[str, Any] = claims.info("commandstats")
    return int(stats.get("cmdstat_getrange", {}).get("calls", 0))


def test_every_type_goes_through_a_worker_and_back(worker: WorkerProcess) -> None:
    args = [
        SMALL,
        (1, ("two", [3.5])),
        {1: "one", (2, 3): None, "x": np.float32(1.5)},
        datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        datetime.timedelta(days=-1, microseconds=5),
        Decimal("1.10"),
        uuid.UUID(int=7),
        b"\xff\x00",
        {1, 2},
        1 << 90,
        np.array([b"a", "ä"], object),
    ]
    (back, kwargs) = worker.answer(worker.send(f"{TASKS}.echo", *args, kwargs={"mask": np.array([True, False])}))
    assert type(back) is tuple
    np.testing.assert_array_equal(back[0], SMALL)
    assert list(back[1:10]) == args[1:10]
    assert type(back[2]["x"]) is np.float32
    assert back[10].tolist() == [b"a", "ä".encode()]
    np.testing.assert_array_equal(kwargs["mask"], [True, False])


def test_one_base64_in_the_broker_and_none_in_the_results(worker: WorkerProcess) -> None:
    array = np.random.default_rng(0).random(9_000)
    assert array.nbytes < CHECK_BYTES
    overhead = len(body_in_broker(worker, f"{TASKS}.echo", np.zeros(0)))
    assert overhead < 2000
    assert len(body_in_broker(worker, f"{TASKS}.echo", array)) <= array.nbytes * 4 / 3 + overhead + 1024  # argsrepr
    result = worker.send(f"{TASKS}.doubled", array)
    np.testing.assert_array_equal(worker.answer(result), array * 2)
    assert len(result_in_redis(worker, result)) <= array.nbytes + 512


def test_an_error_s_arguments_come_back(worker: WorkerProcess) -> None:
    with pytest.raises(LookupError) as error:
        worker.answer(worker.send(f"{TASKS}.failing", "text", 3, (1, 2), np.float32(0.5), b"\xff"))
    assert error.value.args == ("text", 3, (1, 2), np.float32(0.5), b"\xff")


def test_an_error_s_argument_that_can_t_travel_is_told_as_text(worker: WorkerProcess) -> None:
    with pytest.raises(LookupError) as error:
        worker.answer(worker.send(f"{TASKS}.failing", np.array(["2020-01-01"]).tolist()))
    assert error.value.args == (["2020-01-01"],)


def signature(worker: WorkerProcess, name: str, *args: Any) -> Any:
    return worker.app.signature(f"{TASKS}.{name}", args)


def test_groups_chains_and_chords(worker: WorkerProcess) -> None:
    in_group = group(signature(worker, "doubled", SMALL * factor) for factor in (1, 2)).apply_async()
    assert isinstance(in_group, GroupResult)
    for factor, result in zip((2, 4), in_group, strict=True):
        np.testing.assert_array_equal(worker.answer(result), SMALL * factor)
    in_chain = chain(signature(worker, "doubled", SMALL), signature(worker, "doubled")).apply_async()
    np.testing.assert_array_equal(worker.answer(in_chain), SMALL * 4)
    in_chord = chord([signature(worker, "doubled", SMALL * factor) for factor in (1, 2, 3)])(
        signature(worker, "joined")
    )
    np.testing.assert_array_equal(worker.answer(in_chord), np.concatenate([SMALL * 2, SMALL * 4, SMALL * 6]))
    # Or the app waits for them as long as it lives, and unsubscribes when there is no Redis any more.
    in_chord.parent.forget()
    in_chord.forget()


def test_countdown_expiry_and_priority_go_along(worker: WorkerProcess) -> None:
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    result = worker.send(
        f"{TASKS}.described", SMALL.copy(), countdown=0.1, expires=soon, soft_time_limit=30, priority=3
    )
    assert worker.answer(result) == ["ndarray", "float32", [2, 3, 4], float((SMALL + 1).sum())]


def test_monitors_see_dtypes_and_shapes_and_never_numbers(worker: WorkerProcess) -> None:
    tasks = tasks_of(worker.app)
    with Events(worker) as events:
        shown = {
            "<float32[2, 3, 4] 96 B>": tasks["doubled"].delay(SMALL),
            "<float32[500, 100] (200000 bytes), claimed>": tasks["doubled"].delay(BIG),
        }
        for text, result in shown.items():
            assert events.of(result, "task-received")["args"] == f"({text},)"
        small, big = (events.of(result, "task-succeeded")["result"] for result in shown.values())
    assert len(small) < 300
    assert big == "<float32[500, 100] (200000 bytes), claimed>"
    assert json.dumps(events.seen)


def test_inspect_shows_dtypes_and_shapes_in_json(worker: WorkerProcess, claims: redis.Redis) -> None:
    args = [SMALL.copy(), {1, 2}, 1 + 2j, np.zeros(CHECK_BYTES // 8 - 1)]
    result = worker.send(f"{TASKS}.described", *args, countdown=600, argsrepr="")
    worker.wait_for_log(f"described[{result.id}] received")
    with Celery("monitor", broker=worker.app.conf.broker_url, set_as_current=False) as monitor:
        # As a plain Flower: it accepts JSON and nothing else, and asks in it.
        assert list(monitor.conf.accept_content) == ["json"]
        asked = monitor.control.inspect(timeout=10, limit=1)
        assert next(iter(asked.ping().values())) == {"ok": "pong"}
        (scheduled,) = next(iter(asked.scheduled().values()))
        (found,) = next(iter(asked.query_task(result.id).values())).values()
    (own,) = next(iter(worker.app.control.inspect(timeout=10, limit=1).scheduled().values()))
    for request in (scheduled["request"], own["request"], found[1]):
        assert request["args"] == "(<float32[2, 3, 4] 96 B>, {1, 2}, (1+2j), <float64[12499] 100.0 kB>)"
        assert request["kwargs"] == "{}"
    worker.app.control.revoke(result.id)


# Claims.


@pytest.mark.parametrize("serializer", ["predictd", "json"])
def test_a_large_argument_is_in_the_store_and_the_parent_leaves_it_there(
    worker: WorkerProcess, claims: redis.Redis, serializer: str
) -> None:
    claims.flushdb()
    sent = BIG if serializer == "predictd" else encode_arrays(with_claims(BIG))
    assert len(body_in_broker(worker, f"{TASKS}.echo", sent, serializer=serializer)) < 2500
    (key,) = claims.keys(PREFIX + "*")
    assert claims.strlen(key) == BIG.nbytes
    assert 86_000 < claims.ttl(key) <= 86_400
    before = fetches(claims)
    waiting = worker.send(f"{TASKS}.described", sent, serializer=serializer, countdown=2)
    worker.wait_for_log(f"described[{waiting.id}] received")
    assert worker.answer(worker.send(f"{TASKS}.described", SMALL.copy()))[0] == "ndarray"
    assert fetches(claims) == before
    assert worker.answer(waiting) == ["ndarray", "float32", [500, 100], float((BIG + 1).sum())]
    assert fetches(claims) == before + 1
    assert claims.exists(key)


def test_a_task_that_knows_nothing_of_claims_works_too(worker: WorkerProcess) -> None:
    assert worker.answer(worker.send(f"{TASKS}.total", BIG)) == float((BIG * 2).sum())


def test_a_large_result_is_fetched_when_it_is_used(worker: WorkerProcess, claims: redis.Redis) -> None:
    result = worker.send(f"{TASKS}.doubled", BIG)
    answer = worker.answer(result)
    assert len(result_in_redis(worker, result)) < 600
    before = fetches(claims)
    assert isinstance(answer, ClaimedArray)
    assert answer.shape == (500, 100)
    assert fetches(claims) == before
    np.testing.assert_array_equal(answer, BIG * 2)
    np.testing.assert_array_equal(decode_arrays([answer])[0], BIG * 2)
    assert fetches(claims) == before + 1


def test_chains_and_chords_hand_claims_on(worker: WorkerProcess, claims: redis.Redis) -> None:
    in_chain = chain(signature(worker, "doubled", BIG), signature(worker, "echo")).apply_async()
    before = fetches(claims)
    ((handed,), _) = worker.answer(in_chain)
    assert fetches(claims) <= before + 1  # by the first task, if it had not yet
    np.testing.assert_array_equal(handed, BIG * 2)
    in_chord = chord([signature(worker, "doubled", BIG) for _ in range(2)])(signature(worker, "joined"))
    np.testing.assert_array_equal(worker.answer(in_chord), np.concatenate([BIG * 2, BIG * 2]))
    in_chord.parent.forget()
    in_chord.forget()


def test_a_claim_that_is_gone_fails_its_task_with_what_and_when(worker: WorkerProcess, claims: redis.Redis) -> None:
    waiting = worker.send(f"{TASKS}.described", BIG, countdown=1)
    claims.flushdb()
    with pytest.raises(ClaimExpiredError, match=r"array float32\[500, 100\] \(200000 bytes\) is not in Redis at"):
        worker.answer(waiting)


def test_a_task_may_delete_what_it_has_used(worker: WorkerProcess, claims: redis.Redis) -> None:
    claims.flushdb()
    shared = tasks_of(worker.app)["doubled"].delay(BIG)
    result = tasks_of(worker.app)["used_up"].delay(BIG)
    assert worker.answer(result) == float(BIG.sum())
    worker.answer(shared)
    worker.wait_until(lambda: not claims.keys(f"{PREFIX}*-*"), "its own claim is gone")
    assert len(claims.keys(PREFIX + "*")) == 2  # the shared argument and its double


def test_a_task_that_comes_again_after_its_claims_are_deleted_says_why(
    worker: WorkerProcess, claims: redis.Redis
) -> None:
    claim = with_claims(BIG, is_single_use=True)
    assert worker.answer(worker.send(f"{TASKS}.used_up", claim)) == float(BIG.sum())
    worker.wait_until(lambda: not claims.keys(f"{PREFIX}*-*"), "its own claim is gone")
    with pytest.raises(ClaimExpiredError, match="single use"):
        worker.answer(worker.send(f"{TASKS}.used_up", claim))


def test_a_store_that_is_away_is_waited_for(new_broker_url: Callable[[], str], own_claims: ClaimCheck) -> None:
    port = free_port()
    with running_redis(port) as claims_url:
        pass
    with running_worker(new_broker_url(), "predictd", claims_url) as worker:
        with running_redis(port), pytest.MonkeyPatch.context() as patch:
            elsewhere = ClaimCheck(ClaimSettings(store=claims_url, check_bytes=CHECK_BYTES))
            patch.setattr("predictd_celery.claimed_trees.claim_check", lambda: elsewhere)
            claimed = with_claims(BIG)
        result = worker.send(f"{TASKS}.described", claimed)
        worker.wait_for_log("doesn't answer")
        worker.wait_until(lambda: result.state == "RETRY", "it is tried again")
        with running_redis(port):
            elsewhere.store.put(claimed.claim, BIG.tobytes(), 60)
            assert worker.answer(result)[0] == "ndarray"


# JSON.


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("float32", 1.5),
        ("int64", 3),
        ("bool", True),
        ("bfloat16", 1.5),
        ("array", [[0.0, 1.0], [2.0, 3.0]]),
        ("bfloat16s", [1.5, 2.0]),
        ("0-d", 2.5),
        ("text", ["a", "b"]),
        ("tree", {"best": 7, "scores": [0.25, [1]]}),
    ],
)
def test_numpy_s_types_are_plain_json_in_a_result(json_worker: WorkerProcess, kind: str, expected: Any) -> None:
    result = json_worker.send(f"{TASKS}.numbers", kind)
    answer = json_worker.answer(result)
    assert answer == expected
    assert type(answer) is type(expected)
    assert json.loads(result_in_redis(json_worker, result))["result"] == expected


def test_numpy_s_numbers_as_keys_are_no_error(json_worker: WorkerProcess) -> None:
    assert json_worker.answer(json_worker.send(f"{TASKS}.counts", [1, 1, 5])) == {"1": 2, "5": 1}


def test_claims_in_json_both_ways(json_worker: WorkerProcess) -> None:
    result = json_worker.send(f"{TASKS}.doubled", encode_arrays(with_claims(BIG)))
    answer = json_worker.answer(result)
    assert len(result_in_redis(json_worker, result)) < 600
    np.testing.assert_array_equal(decode_arrays(answer), BIG * 2)
    assert json_worker.answer(json_worker.send(f"{TASKS}.doubled", [1, 2])) == [1, 2, 1, 2]


def test_chains_chords_and_links_in_json_keep_their_arrays(json_worker: WorkerProcess, claims: redis.Redis) -> None:
    tasks = tasks_of(json_worker.app)
    doubled, joined, shape_of = tasks["doubled"], tasks["joined"], tasks["shape_of"]
    in_chain = chain(doubled.s(SMALL), doubled.s(), shape_of.s()).apply_async()
    assert json_worker.answer(in_chain) == "ndarray float32 (2, 3, 4)"
    later = chain(doubled.si(SMALL), shape_of.si(BIG)).apply_async()
    assert json_worker.answer(later) == "ndarray float32 (500, 100)"
    in_chord = chord([doubled.s(SMALL), doubled.s(SMALL)])(joined.s() | shape_of.s())
    assert json_worker.answer(in_chord) == "ndarray float32 (4, 3, 4)"
    linked = doubled.apply_async((SMALL,), link=shape_of.s())
    json_worker.wait_until(linked.ready, "the task that has a link")
    (child,) = linked.children
    assert json_worker.answer(child) == "ndarray float32 (2, 3, 4)"
    np.testing.assert_array_equal(decode_arrays(linked.get()), SMALL * 2)
    assert json_worker.answer(doubled.delay(SMALL)) == (SMALL * 2).tolist()
    in_chord.parent.forget()
    in_chord.forget()


def test_arrays_in_envelopes_keep_their_dtype(json_worker: WorkerProcess) -> None:
    sent = encode_arrays(np.arange(3, dtype=np.uint8))
    assert json_worker.answer(json_worker.send(f"{TASKS}.described", sent)) == ["ndarray", "uint8", [3], 6.0]


def test_a_worker_that_takes_json_alone_refuses_the_task_clearly(json_worker: WorkerProcess) -> None:
    refused = json_worker.send(f"{TASKS}.described", SMALL, serializer="predictd")
    json_worker.wait_for_log("Refusing to deserialize untrusted content of type predictd (application/x-predictd)")
    assert json_worker.answer(json_worker.send(f"{TASKS}.numbers", "int64")) == 3
    # Celery drops it: it is in no queue any more, and its result never comes.
    with broker_of(json_worker) as client:
        assert not client.exists("celery", "unacked")
    assert refused.state == "PENDING"
