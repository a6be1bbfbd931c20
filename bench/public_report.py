"""Rows of the public measurements, and their comparison between two checkouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

import msgspec

from bench.public_system import Measurement

T = TypeVar("T")

# Figures that are smaller than this on both sides are not printed.
SHOWN_MIN = 0.005
# Between the name of a total and that of one of its parts.
PART = ": "
HEADINGS = (
    "log       workload   in flight  shards  workflows/s  activities/s    p50 ms    p95 ms"
    "   per workflow: CPU ms  of broker  requests  records    bytes"
)


class PublicRow(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement through the public client. README.md says precisely what each figure counts."""

    log: str
    workload: str
    mode: str
    in_flight: int
    shards: int
    workflows: int
    seconds: float
    workflows_per_s: float
    activities_per_s: float
    p50_ms: float
    p95_ms: float
    cpu_s_per_1000_workflows: dict[str, float]
    requests_per_workflow: dict[str, float] | None
    records_per_workflow: dict[str, float]
    bytes_per_workflow: dict[str, float]
    load_average_before: float


class Comparison(msgspec.Struct, frozen=True):
    """One figure of one row on two checkouts: medians over the runs, ratios this / other pair by pair.

    A ratio is None where the other checkout's figure is 0 in some pair."""

    figure: str
    other: float
    this: float
    ratio_min: float | None
    ratio_median: float | None
    ratio_max: float | None


def public_row(
    log: str,
    workload: str,
    in_flight: int,
    shards: int,
    workflows: int,
    activities: int,
    measured: Measurement,
    load_average: float,
) -> PublicRow:
    """Row of a measurement. `activities`: how many each workflow runs."""
    report = measured.report
    rate = workflows / report.seconds
    requests = measured.requests
    flows = measured.flows
    return PublicRow(
        log=log,
        workload=workload,
        mode="client",
        in_flight=in_flight,
        shards=shards,
        workflows=workflows,
        seconds=round(report.seconds, 3),
        workflows_per_s=round(rate, 2),
        activities_per_s=round(rate * activities, 1),
        p50_ms=round(report.p50_ms, 2),
        p95_ms=round(report.p95_ms, 2),
        cpu_s_per_1000_workflows=_each(measured.cpu_s, lambda seconds: seconds / workflows * 1_000),
        requests_per_workflow=None if requests is None else _each(requests, lambda count: count / workflows),
        records_per_workflow=_each(flows, lambda flow: flow.records / workflows),
        bytes_per_workflow=_each(flows, lambda flow: flow.size / workflows),
        load_average_before=round(load_average, 2),
    )


def line(row: PublicRow) -> str:
    """The row's main figures in the columns of HEADINGS."""
    cpu, requests = row.cpu_s_per_1000_workflows, row.requests_per_workflow
    broker = f"{cpu['broker']:.2f}" if "broker" in cpu else "–"
    asked = f"{sum(requests.values()):.2f}" if requests is not None else "–"
    return (
        f"{row.log:<9} {row.workload:<10} {row.in_flight:>9} {row.shards:>7} {row.workflows_per_s:>12,.1f}"
        f" {row.activities_per_s:>13,.1f} {row.p50_ms:>9,.1f} {row.p95_ms:>9,.1f} {sum(cpu.values()):>22.2f}"
        f" {broker:>10} {asked:>9} {sum(row.records_per_workflow.values()):>8.1f}"
        f" {sum(row.bytes_per_workflow.values()):>8,.0f}"
    )


def figures(row: PublicRow) -> dict[str, float]:
    """Every figure of a row by its name, with its unit; totals before their parts."""
    found = {
        "workflows/s": row.workflows_per_s,
        "activities/s": row.activities_per_s,
        "p50 ms": row.p50_ms,
        "p95 ms": row.p95_ms,
    }
    found |= _with_total("CPU s/1,000 workflows", row.cpu_s_per_1000_workflows)
    found |= _with_total("broker requests/workflow", row.requests_per_workflow or {})
    found |= _with_total("records/workflow", row.records_per_workflow)
    return found | _with_total("bytes/workflow", row.bytes_per_workflow)


def compare(pairs: Sequence[tuple[PublicRow, PublicRow]]) -> list[Comparison]:
    """Each figure of the pairs (other, this), which are measurements of one row. A missing part counts as 0."""
    sides = [(figures(other), figures(this)) for other, this in pairs]
    names = list(dict.fromkeys(name for side in sides for found in side for name in found))
    # A topic or an API may exist on one side only: parts go behind their own total all the same.
    groups = list(dict.fromkeys(name.partition(PART)[0] for name in names))
    names.sort(key=lambda name: (groups.index(name.partition(PART)[0]), name))
    return [_compared(name, [(o.get(name, 0.0), t.get(name, 0.0)) for o, t in sides]) for name in names]


def table(title: str, comparisons: Sequence[Comparison]) -> str:
    """The comparison of one row, for people."""
    lines = [f"{title:<36} {'other':>12} {'this':>12}   this/other: min   median      max"]
    for found in comparisons:
        if max(found.other, found.this) >= SHOWN_MIN:
            low, middle, high = map(_shown, (found.ratio_min, found.ratio_median, found.ratio_max))
            whole, _, part = found.figure.rpartition(PART)
            name = f"    {part}" if whole else f"  {part}"
            lines.append(f"{name:<36} {found.other:>12,.2f} {found.this:>12,.2f} {low:>17} {middle:>8} {high:>8}")
    return "\n".join(lines)


def _shown(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.3f}"


def _compared(name: str, pairs: Sequence[tuple[float, float]]) -> Comparison:
    others, these = zip(*pairs, strict=True)
    if not all(others):
        return Comparison(name, median(others), median(these), None, None, None)
    ratios = [this / other for other, this in pairs]
    ends = (round(value, 4) for value in (min(ratios), median(ratios), max(ratios)))
    return Comparison(name, median(others), median(these), *ends)


def _each(values: Mapping[str, T], figure: Callable[[T], float]) -> dict[str, float]:
    return {name: round(figure(value), 4) for name, value in sorted(values.items())}


def _with_total(name: str, parts: Mapping[str, float]) -> dict[str, float]:
    return (
        {name: sum(parts.values())} | {f"{name}{PART}{part}": value for part, value in parts.items()} if parts else {}
    )
