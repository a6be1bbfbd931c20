"""Raw pipe on SQLite: the records of a Penstock processor without its decisions, the embedded log's upper bound.

FROZEN. This program is the measure of comparison and is not tuned with Penstock. It imports only the standard library,
and tests/bench/test_frozen.py holds a hash of its code; a change of the code needs a new hash, and all figures measured
again.

It reads a plan (JSON, as bench/raw_pipe.py takes it, with `file` in place of `bootstrap`) from stdin, fills input
partitions with bytes of the given sizes, and then, transaction by transaction: selects the next inputs, inserts the
corresponding outputs, writes the input offsets and commits durably (WAL, synchronous=FULL), on one thread. It prints
its figures (JSON), without the first transactions.
"""

import json
import sqlite3
import sys
import time
from typing import Any

Plan = dict[str, Any]
Schedule = list[tuple[str, int]]
Ids = dict[tuple[str, int], int]
Row = tuple[int, bytes, bytes, int]
UNCOUNTED = 5
TOGETHER = 32
OFFSET_BITS = 40
ROWS = 10_000
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE partitions (id INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE records (place INTEGER PRIMARY KEY, key BLOB, value BLOB, at_ms INTEGER NOT NULL);
CREATE TABLE offsets (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
"""


def main() -> None:
    """Carry the plan out."""
    plan = json.load(sys.stdin)
    connection = sqlite3.connect(plan["file"], isolation_level=None)
    connection.executescript(SCHEMA)
    ids: Ids = {}
    for flow in [*plan["inputs"], *plan["outputs"], *plan["per_shard"]]:
        for number in range(flow["partitions"]):
            ids.setdefault((flow["topic"], number), len(ids) + 1)
    schedule = _schedule(plan)
    ends = dict.fromkeys(ids.values(), 0)
    _fill(connection, plan, ids, ends, schedule)
    print(json.dumps(_pump(connection, plan, ids, ends, schedule)))
    connection.close()


def _schedule(plan: Plan) -> Schedule:
    """Which (topic, shard) each input comes from: shard after shard, in each the topics by their share."""
    kinds = [flow["topic"] for flow in plan["inputs"] for _ in range(round(flow["per_workflow"]))]
    shards, count = plan["shards"], plan["inputs_per_transaction"] * plan["transactions"]
    return [(kinds[(index // shards) % len(kinds)], index % shards) for index in range(count)]


def _fill(connection: sqlite3.Connection, plan: Plan, ids: Ids, ends: dict[int, int], schedule: Schedule) -> None:
    bytes_of = {flow["topic"]: (bytes(flow["key_bytes"]), bytes(flow["value_bytes"])) for flow in plan["inputs"]}
    for start in range(0, len(schedule), ROWS):
        rows: list[Row] = []
        for kind, shard in schedule[start : start + ROWS]:
            _append(rows, ends, ids[kind, shard], *bytes_of[kind], 0)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")


def _pump(
    connection: sqlite3.Connection, plan: Plan, ids: Ids, ends: dict[int, int], schedule: Schedule
) -> dict[str, float]:
    """Move it all; what was counted."""
    sink, taken = _Sink(plan, ids), dict.fromkeys(ids.values(), 0)
    size, records, done, began, cpu = plan["inputs_per_transaction"], 0, 0, 0.0, 0.0
    for start in range(0, len(schedule), size):
        if done == UNCOUNTED:
            records, began, cpu = 0, time.monotonic(), time.process_time()
        slots = schedule[start : start + size]
        wanted: dict[int, int] = {}
        for kind, shard in slots:
            wanted[ids[kind, shard]] = wanted.get(ids[kind, shard], 0) + 1
        for partition, count in wanted.items():
            base = (partition << OFFSET_BITS) + taken[partition]
            found = connection.execute(
                "SELECT place, key, value, at_ms FROM records WHERE place >= ? ORDER BY place LIMIT ?", (base, count)
            ).fetchall()
            if len(found) != count or found[-1][0] != base + count - 1:
                raise RuntimeError("an input is missing")
            taken[partition] += count
        rows = sink.rows([shard for _, shard in slots], ends)
        written = {row[0] >> OFFSET_BITS for row in rows}
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        positions = [(partition, ends[partition]) for partition in written]
        connection.executemany("INSERT OR REPLACE INTO partitions VALUES (?, ?)", positions)
        positions = [(partition, taken[partition]) for partition in wanted]
        connection.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?)", positions)
        connection.execute("COMMIT")
        records += len(slots) + len(rows)
        done += 1
        if done > UNCOUNTED and time.monotonic() - began > plan["seconds_max"]:
            break
    counted = {"records": records, "transactions": done - UNCOUNTED, "seconds": time.monotonic() - began}
    counted["cpu_s"] = time.process_time() - cpu
    return counted


class _Sink:
    """Makes the rows that a number of inputs stands for."""

    def __init__(self, plan: Plan, ids: Ids) -> None:
        inputs = sum(round(flow["per_workflow"]) for flow in plan["inputs"])
        self._flows = [
            (flow["topic"], flow["partitions"] == plan["shards"], flow["partitions"], flow["per_workflow"] / inputs,
             bytes(flow["key_bytes"]), bytes(flow["value_bytes"]))
            for flow in plan["outputs"]
        ]  # fmt: skip
        self._per_shard = [
            (flow["topic"], bytes(flow["key_bytes"]), bytes(flow["value_bytes"])) for flow in plan["per_shard"]
        ]
        self._due = [0.0] * len(self._flows)
        self._ids, self._turn = ids, 0

    def rows(self, shards: list[int], ends: dict[int, int]) -> list[Row]:
        """The rows for inputs of these shards."""
        self._turn += 1
        ids, due, spread, now_ms = self._ids, self._due, 0, time.time_ns() // 1_000_000
        made: list[Row] = []
        for shard in shards:
            for index, (topic, by_shard, partitions, per_input, key, value) in enumerate(self._flows):
                due[index] += per_input
                while due[index] >= 0.999_999:
                    due[index] -= 1
                    number = shard
                    if not by_shard:
                        number = (self._turn + spread // TOGETHER) % partitions
                        spread += 1
                    _append(made, ends, ids[topic, number], key, value, now_ms)
        for shard in set(shards):
            for topic, key, value in self._per_shard:
                _append(made, ends, ids[topic, shard], key, value, now_ms)
        return made


def _append(rows: list[Row], ends: dict[int, int], partition: int, key: bytes, value: bytes, at_ms: int) -> None:
    rows.append(((partition << OFFSET_BITS) + ends[partition], key, value, at_ms))
    ends[partition] += 1


if __name__ == "__main__":
    main()
