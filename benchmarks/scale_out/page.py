"""The tables of docs/scale-out.md: what was measured of a chunk, and the simulation from 1 to 1,000 hosts.

Owns their words, and how many hosts, runs and brokers there are in them. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.report.figures import median_and_spread, number
from benchmarks.report.found import median
from benchmarks.report.page_block import with_block
from benchmarks.scale_out.costs import CLAIMS, SHARED, ChunkCosts, Costs, HostRate
from benchmarks.scale_out.simulation import Load, Outcome, simulated

PAGE = Path(__file__).parents[2] / "docs" / "scale-out.md"
HOSTS = (1, 3, 10, 30, 100, 300, 1000)
CHILDREN = 2
#: One run and one broker; then enough runs for the broker to be the wall; then several brokers.
SHARDS = 8
#: 10 Gbit/s, in and out together, of a broker's line, a claim store's, a file server's.
NETWORK_BYTES_PER_S = 1.2e9
#: What rows lie on beside the broker.
STORES = {CLAIMS: "claim store", SHARED: "file server"}
_BEGIN, _END = "<!-- tables: written by python -m benchmarks.scale_out -->", "<!-- end of tables -->"


def with_tables(text: str, costs: Costs) -> str:
    """Return the page with the tables that follow from some costs."""
    tables = "\n\n".join(_tables(costs))
    return with_block(text, _BEGIN, _END, tables)


def outcome(
    chunk: ChunkCosts, costs: Costs, rate: HostRate, hosts: int, *, runs: int = 1, brokers: int = 1
) -> tuple[Load, Outcome]:
    """Return what so many hosts come to, each broker with a claim store or a file server of its own."""
    broker_s = _slower_s(median(chunk.broker_cpu_ms), median(chunk.broker_bytes))
    load = Load(
        hosts,
        CHILDREN,
        # Nothing overlaps on a host: while its cores carry chunks about, they score none.
        host_s=chunk.rows / rate.rows_per_s + median(chunk.worker_cpu_ms) / 1000 / costs.cores,
        run_s=median(chunk.run_cpu_ms) / 1000,
        broker_s=broker_s,
        idle_share=min(0.9, hosts / brokers * costs.idle_cpu_ms_per_s / 1000),
        store_s=_slower_s(median(chunk.store_cpu_ms), chunk.beside_bytes),
        runs=runs,
        brokers=brokers,
        stores=brokers,
    )
    return load, simulated(load)


def _slower_s(cpu_ms: float, byte_count: float) -> float:
    return max(cpu_ms / 1000, byte_count / NETWORK_BYTES_PER_S)


def _tables(costs: Costs) -> Iterator[str]:
    yield f"Measured on: {costs.machine}."
    chunks = [(rate, chunk) for rate in costs.hosts for chunk in costs.chunks if chunk.row_bytes == rate.row_bytes]
    names = ["rows", "Redis: commands", "CPU ms", "kB in and out", "claim store: CPU ms", "kB beside the broker"]
    yield _table(
        ["a chunk", "travels", *names, "run: CPU ms", "worker: CPU ms"],
        [
            [
                rate.title,
                chunk.way,
                str(chunk.rows),
                number(median(chunk.commands)),
                median_and_spread(chunk.broker_cpu_ms),
                number(median(chunk.broker_bytes) / 1000),
                median_and_spread(chunk.store_cpu_ms) if chunk.way == CLAIMS else "-",
                number(chunk.beside_bytes / 1000) if chunk.beside_bytes else "-",
                median_and_spread(chunk.run_cpu_ms),
                median_and_spread(chunk.worker_cpu_ms),
            ]
            for rate, chunk in chunks
        ],
    )
    yield (
        f"A worker with nothing to do asks Redis {number(costs.idle_commands_per_s)} commands a second, "
        f"{number(costs.idle_cpu_ms_per_s)} ms of its processor. In a second of its processor time this Redis answers "
        f"{number(costs.gets_per_cpu_s)} GETs of 100 bytes."
    )
    for rate, chunk in chunks:
        if chunk.is_whole:
            yield _hosts(chunk, costs, rate)
        else:
            yield f"**{rate.title}, {chunk.way}**: not simulated, since what the store costs was not measured."


def _hosts(chunk: ChunkCosts, costs: Costs, rate: HostRate) -> str:
    rows = []
    for hosts in HOSTS:
        ways = [
            outcome(chunk, costs, rate, hosts),
            outcome(chunk, costs, rate, hosts, runs=hosts),
            outcome(chunk, costs, rate, hosts, runs=hosts, brokers=min(hosts, SHARDS)),
        ]
        cells = [_cell(chunk, found) for _, found in ways]
        rows.append([f"{hosts:,}", *cells, number(_held_bytes(chunk, ways[0][0]) / 1e9)])
    header = ["hosts", "one run, one broker", "a run for each host, one broker", f"the same, {SHARDS} brokers at most"]
    table = _table([*header, "GB that one broker holds"], rows)
    return f"**{rate.title}, {chunk.way}** (rows/s; what is busiest, and how busy the broker is)\n\n{table}"


def _held_bytes(chunk: ChunkCosts, load: Load) -> float:
    """Return what the broker holds at most: of each chunk under way the message, twice while it is unacknowledged."""
    # Three times through it: queued, handed out, noted as unacknowledged.
    return load.window * 2 * median(chunk.broker_bytes) / 3


def _cell(chunk: ChunkCosts, found: Outcome) -> str:
    wall = STORES.get(chunk.way, "") if found.wall == "store" else found.wall
    return f"{number(found.chunks_per_s * chunk.rows)} ({wall}; {found.broker_share:.0%})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
