"""Rows of the closed and backlog measurements, their table, and the file that holds all rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import workload
from bench.client import Load, Report
from bench.public_report import PublicRow
from bench.sizes import Batches, Sample

RESULTS = Path(__file__).parent / "results" / "latest.json"


class RawPipe(msgspec.Struct, frozen=True):
    """Result that a raw pipe prints."""

    records: int
    transactions: int
    seconds: float
    cpu_s: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. README.md says precisely what each figure counts."""

    log: str
    workload: str
    mode: str
    in_flight: int
    shards: int
    processes: int
    workflows: int
    seconds: float
    workflows_per_s: float
    activities_per_s: float
    p50_ms: float
    p99_ms: float
    inputs_per_transaction: float
    transactions_per_s: float
    records_per_s: float
    raw_pipe_records_per_s: float
    raw_pipe_ratio: float
    cpu_s_processor: float
    cpu_s_worker: float
    cpu_s_broker: float | None
    cpu_s_client: float
    processor_cpu_us_per_record: float
    raw_pipe_cpu_us_per_record: float
    cpus: int
    load_average_before: float


def row(
    log: str,
    processes: int,
    load: Load,
    report: Report,
    sample: Sample,
    batches: Batches,
    raw: RawPipe,
    cpus: int,
    busy: float,
) -> Row:
    """Row of a measurement."""
    per_input = sample.records_per_workflow / workload.INPUTS
    per_shard = sum(flow.per_workflow > 0 for flow in sample.per_shard)
    records = batches.decisions * per_input + batches.layers * per_shard
    records_per_s, raw_per_s = records / report.seconds, raw.records / raw.seconds
    rate = report.workflows / report.seconds
    return Row(
        log=log,
        workload=workload.NAME,
        mode=load.mode,
        in_flight=load.in_flight,
        shards=load.shards,
        processes=processes,
        workflows=report.workflows,
        seconds=round(report.seconds, 3),
        workflows_per_s=round(rate, 1),
        activities_per_s=round(rate * workload.ACTIVITIES, 1),
        p50_ms=round(report.p50_ms, 2),
        p99_ms=round(report.p99_ms, 2),
        inputs_per_transaction=round(batches.decisions / max(1, batches.transactions), 1),
        transactions_per_s=round(batches.transactions / report.seconds, 1),
        records_per_s=round(records_per_s),
        raw_pipe_records_per_s=round(raw_per_s),
        raw_pipe_ratio=round(records_per_s / raw_per_s, 3),
        cpu_s_processor=round(report.cpu_s["processor"], 2),
        cpu_s_worker=round(report.cpu_s["worker"], 2),
        cpu_s_broker=round(report.cpu_s["broker"], 2) if "broker" in report.cpu_s else None,
        cpu_s_client=round(report.cpu_s["client"], 2),
        processor_cpu_us_per_record=round(report.cpu_s["processor"] / max(1, records) * 1e6, 2),
        raw_pipe_cpu_us_per_record=round(raw.cpu_s / max(1, raw.records) * 1e6, 2),
        cpus=cpus,
        load_average_before=round(busy, 2),
    )


def write(rows: Sequence[Row | PublicRow], path: Path) -> None:
    """Write the rows as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")


HEADINGS = (
    "log       mode     in flight  shards  processors  workflows/s  activities/s    p50 ms    p99 ms  inputs/txn"
    "  records/s  raw pipe  ratio   CPU s: proc  worker  broker  client"
)


def line(row: Row) -> str:
    """The row's main figures in the columns of HEADINGS."""
    broker = "     –" if row.cpu_s_broker is None else f"{row.cpu_s_broker:6.2f}"
    return (
        f"{row.log:<9} {row.mode:<8} {row.in_flight:>9,} {row.shards:>7} {row.processes:>11}"
        f" {row.workflows_per_s:>12,.1f} {row.activities_per_s:>13,.1f} {row.p50_ms:>9,.1f} {row.p99_ms:>9,.1f}"
        f" {row.inputs_per_transaction:>11,.1f}"
        f" {row.records_per_s:>10,.0f} {row.raw_pipe_records_per_s:>9,.0f} {row.raw_pipe_ratio:>6.2f}"
        f" {row.cpu_s_processor:>13.2f} {row.cpu_s_worker:>7.2f}  {broker} {row.cpu_s_client:>7.2f}"
    )
