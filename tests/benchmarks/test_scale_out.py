"""The simulation of many hosts: its limits are those of its parts; the page shows what follows from its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scale_out import costs as costs_module
from benchmarks.scale_out import page
from benchmarks.scale_out.costs import CLAIMS, SHARED, ChunkCosts, Costs, HostRate
from benchmarks.scale_out.page import PAGE, outcome, with_tables
from benchmarks.scale_out.simulation import Load, simulated

costs_s = st.floats(1e-4, 0.1)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.tuples(*[st.integers(1, 12)] * 4),
    needed_s=st.tuples(*[costs_s] * 3),
    store_s=st.just(0.0) | costs_s,
    idle_share=st.floats(0, 0.9),
)
def test_nothing_goes_faster_than_its_slowest_part(
    counts: tuple[int, ...], needed_s: tuple[float, ...], store_s: float, idle_share: float
) -> None:
    hosts, runs, brokers, stores = counts
    host_s, run_s, broker_s = needed_s
    load = Load(hosts, 2, host_s, run_s, broker_s, idle_share, store_s, runs, brokers, stores)
    found = simulated(load)
    assert found.chunks_per_s <= load.limit * (1 + 1e-9)
    # What is not under way can't be worked at: with few hosts the window is the limit.
    lone_s = host_s + run_s + broker_s / (1 - idle_share) + store_s
    assert found.chunks_per_s >= 0.5 * min(load.limit, load.window / lone_s)
    shares = (found.broker_share, found.store_share, found.run_share, found.host_share)
    assert all(0 <= share <= 1 + 1e-9 for share in shares)
    assert max(shares) >= 0.45 * found.chunks_per_s / load.limit


def test_every_share_of_the_page_is_one() -> None:
    costs = Costs.read()
    rates = {rate.row_bytes: rate for rate in costs.hosts}
    for chunk in costs.chunks:
        for hosts in (1, 3, 10) if chunk.is_whole else ():
            load, found = outcome(chunk, costs, rates[chunk.row_bytes], hosts, runs=hosts)
            assert found.chunks_per_s <= load.limit * (1 + 1e-9)


def test_a_claim_store_is_a_wall_of_its_own() -> None:
    one = simulated(Load(50, 2, 0.1, 0.001, 0.001, store_s=0.01, runs=50))
    assert one.wall == "store"
    assert one.chunks_per_s == pytest.approx(100, rel=0.01)
    assert one.store_share == pytest.approx(1, rel=0.01)
    several = simulated(Load(50, 2, 0.1, 0.001, 0.001, store_s=0.01, runs=50, stores=8))
    assert several.wall == "hosts"
    assert several.chunks_per_s == pytest.approx(500, rel=0.01)


CHUNK = ChunkCosts(
    CLAIMS, 10, 1000, (20.0,), (1.0, 3.0, 2.0), (3000.0,), (4.0, 9.0, 5.0), (24e6,), (6.0, 6.0, 7.0), (8.0,)
)
HERE = Costs((CHUNK,), (HostRate("rows", 1000, 1000.0),), 2, 2.0, 0.5, 1e6, "here")


def test_what_is_slower_counts_processor_or_line() -> None:
    load, _ = outcome(CHUNK, HERE, HERE.hosts[0], 4, runs=4, brokers=2)
    assert (load.broker_s, load.run_s) == (0.002, 0.006)
    assert load.host_s == pytest.approx(0.01 + 0.004)
    # 24 MB by 10 Gbit/s take longer than 5 ms of a processor.
    assert load.store_s == pytest.approx(0.02)
    assert (load.runs, load.brokers, load.stores) == (4, 2, 2)
    fast = replace(CHUNK, store_bytes=(1000.0,))
    assert outcome(fast, HERE, HERE.hosts[0], 4)[0].store_s == 0.005


@pytest.mark.usefixtures("few_hosts")
def test_rows_on_a_shared_folder_pass_a_file_server() -> None:
    shared = replace(CHUNK, way=SHARED, rows=1_200_000, store_cpu_ms=(0.0,), store_bytes=(0.0,))
    assert shared.beside_bytes == 1.2e9
    costs = replace(HERE, chunks=(shared,), hosts=(HostRate("rows", 1000, 1e9),))
    load, found = outcome(shared, costs, costs.hosts[0], 30, runs=30)
    assert load.store_s == pytest.approx(1)
    assert found.wall == "store"
    assert "file server" in with_tables(TABLES, costs)


@pytest.fixture
def few_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thousand take seconds; the page itself has them.
    monkeypatch.setattr(page, "HOSTS", (1, 30))


TABLES = "<!-- tables: written by python -m benchmarks.scale_out --><!-- end of tables -->"


@pytest.mark.usefixtures("few_hosts")
def test_the_store_has_its_column_and_spreads_are_shown() -> None:
    text = with_tables(TABLES, HERE)
    cells = ["10", "20.00", "2.00 (1.00-3.00)", "3.00", "5.00 (4.00-9.00)", "24,000", "6.00 (6.00-7.00)", "8.00"]
    assert f"| rows | by a claim store | {' | '.join(cells)} |" in text
    # Two chunks for each of two children of 30 hosts, a third of 3,000 bytes twice.
    assert next(line for line in text.splitlines() if line.startswith("| 30 |")).endswith(" 0.00024 |")
    assert "claim store" in text.split("GB that one broker holds")[1]


@pytest.mark.usefixtures("few_hosts")
def test_a_store_that_was_not_measured_is_not_simulated() -> None:
    text = with_tables(TABLES, replace(HERE, chunks=(replace(CHUNK, store_cpu_ms=(), store_bytes=()),)))
    assert "**rows, by a claim store**: not simulated" in text
    assert "GB that one broker holds" not in text


def test_costs_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs_module, "FILE", tmp_path / "costs.json")
    HERE.write()
    assert Costs.read() == HERE


def test_more_runs_and_brokers_move_the_wall() -> None:
    one = simulated(Load(50, 2, 0.1, 0.01, 0.004))
    assert one.wall == "run"
    assert one.chunks_per_s == pytest.approx(100, rel=0.05)
    runs = simulated(Load(50, 2, 0.1, 0.01, 0.004, runs=50))
    assert runs.wall == "broker"
    assert runs.chunks_per_s == pytest.approx(250, rel=0.05)
    brokers = simulated(Load(50, 2, 0.1, 0.01, 0.004, runs=50, brokers=8))
    assert brokers.wall == "hosts"
    assert brokers.chunks_per_s == pytest.approx(500, rel=0.05)


def test_idle_workers_take_of_the_broker() -> None:
    busy = simulated(Load(50, 2, 0.1, 0.0001, 0.004, idle_share=0.5))
    assert busy.chunks_per_s == pytest.approx(125, rel=0.05)
    assert busy.broker_share == pytest.approx(1, rel=0.05)


def test_the_page_shows_what_follows_from_its_figures() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_tables(text, Costs.read()) == text, "run python -m benchmarks.scale_out"


def test_every_way_of_the_page_was_measured_several_times() -> None:
    """It fails until `python -m benchmarks.scale_out --measure` has measured the claim store too."""
    for chunk in Costs.read().chunks:
        assert chunk.is_whole, chunk.way
        assert len(chunk.broker_cpu_ms) == len(chunk.store_cpu_ms) >= 3, chunk.way
