"""Tests of `python -m bench.public`: reading of answers, ratios between checkouts, and a short run on embedded logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench import broker_requests, public, public_count, public_report
from bench.public_client import Report, quantile
from bench.public_count import Flow
from bench.public_report import PublicRow
from bench.public_system import Checkout, Measurement, check_origin, other_checkout, this_checkout

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 100


def row(workload="client1", **changes):
    """A row with small figures."""
    measured = Measurement(
        report=Report(penstock="", seconds=2.0, p50_ms=10.0, p95_ms=20.0, cpu_s=0.1),
        cpu_s={"processor": 0.5, "broker": 0.25},
        requests={"Produce": 30, "EndTxn": 10},
        flows={"events": Flow(70, 7_000), "commands": Flow(20, 400)},
    )
    made = public_report.public_row("kafka", workload, 1, 4, 10, 5, measured, 0.5)
    return msgspec.structs.replace(made, **changes)


def found(comparisons):
    return {comparison.figure: comparison for comparison in comparisons}


def run(*options):
    command = [sys.executable, "-m", "bench.public", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S)


def test_requests_are_not_counted_twice():
    """The names under which the broker counts fetches once more are left out."""
    answer = '{"Produce": 3, "Fetch": 5, "FetchConsumer": 5, "FetchFollower": 0}\n'
    assert broker_requests.parse(answer) == {"Produce": 3, "Fetch": 5}


def test_requests_between_two_readings():
    """APIs that had requests between the readings are counted, new ones included; a missing reading gives None."""
    before, after = {"Produce": 3, "Fetch": 5}, {"Produce": 10, "Fetch": 5, "EndTxn": 2}
    assert broker_requests.between(before, after) == {"Produce": 7, "EndTxn": 2}
    assert broker_requests.between(None, after) is None
    assert broker_requests.between(before, None) is None


def test_flows_are_read_from_an_answer():
    """A line of the counting program becomes records and sizes by topic."""
    assert public_count.answer_of('{"events": {"records": 7, "size": 700}}') == {"events": Flow(7, 700)}


def test_compacted_records_are_added_at_their_average_size():
    """Records that compaction removed count as written, with the average size of those kept."""
    assert public_count.whole(Flow(10, 200), 25) == Flow(25, 500)
    assert public_count.whole(Flow(0, 0), 3) == Flow(3, 0)


def test_quantiles():
    """The 95th percentile of 1 to 100 is its 96th value, and a single value is every percentile."""
    assert quantile(list(range(1, 101)), 0.95) == 96
    assert quantile([7.0], 0.95) == 7.0


def test_a_row_divides_by_its_workflows():
    """Rates count workflows and activities a second; costs count by workflow, CPU time by 1,000 of them."""
    made = row()
    assert (made.workflows_per_s, made.activities_per_s) == (5.0, 25.0)
    assert made.cpu_s_per_1000_workflows == {"broker": 25.0, "processor": 50.0}
    assert made.requests_per_workflow == {"EndTxn": 1.0, "Produce": 3.0}
    assert made.records_per_workflow == {"commands": 2.0, "events": 7.0}
    assert made.bytes_per_workflow == {"commands": 40.0, "events": 700.0}


def test_figures_have_totals():
    """CPU time, requests, records and bytes come with their totals; unknown requests have no figure."""
    figures = public_report.figures(row())
    assert figures["CPU s/1,000 workflows"] == 75.0
    assert figures["broker requests/workflow"] == 4.0
    assert figures["broker requests/workflow: Produce"] == 3.0
    assert figures["records/workflow"] == 9.0
    assert figures["bytes/workflow"] == 740.0
    assert not any("requests" in name for name in public_report.figures(row(requests_per_workflow=None)))


def test_ratios_are_taken_pair_by_pair():
    """The ratios divide the two measurements of one pair; medians are taken of each side by itself."""
    others, these = (100.0, 200.0, 400.0), (110.0, 100.0, 480.0)
    pairs = [(row(workflows_per_s=other), row(workflows_per_s=this)) for other, this in zip(others, these, strict=True)]
    rate = found(public_report.compare(pairs))["workflows/s"]
    assert (rate.other, rate.this) == (200.0, 110.0)
    assert (rate.ratio_min, rate.ratio_median, rate.ratio_max) == (0.5, 1.1, 1.2)


def test_a_part_of_one_side_counts_as_zero_on_the_other():
    """A topic that only one side has is compared with 0 and has no ratio when the other side lacks it."""
    other = row(records_per_workflow={"commands": 2.0, "events": 7.0})
    this = row(records_per_workflow={"commands": 2.0, "history": 4.0})
    compared = found(public_report.compare([(other, this)]))
    assert (compared["records/workflow: events"].this, compared["records/workflow: events"].ratio_median) == (0.0, 0.0)
    assert compared["records/workflow: history"].other == 0.0
    assert compared["records/workflow: history"].ratio_median is None
    assert compared["records/workflow"].ratio_median == pytest.approx(6 / 9, abs=0.001)
    names = list(compared)
    assert names.index("records/workflow: history") < names.index("bytes/workflow")


def test_the_table_shows_parts_below_their_totals():
    """The printed comparison has a line for each total and part, but none for figures near 0 on both sides."""
    rows = (row(requests_per_workflow={"Produce": 3.0, "Metadata": 0.001}),) * 2
    shown = public_report.table("kafka, 4 shards, client1", public_report.compare([rows]))
    assert "  broker requests/workflow " in shown
    assert "    Produce " in shown
    assert "1.000" in shown
    assert "Metadata" not in shown


def test_runs_are_paired_by_row_and_number():
    """Each row's runs become (other, this) in the order of the pairs, whatever ran between."""
    runs = [
        public.Run(pair, side, row(workload, workflows_per_s=float(pair + 10 * (side == "this"))))
        for pair in (1, 2)
        for side in ("other", "this")
        for workload in ("client1", "client100")
    ]
    pairs = public.paired(runs)
    assert list(pairs) == ["kafka, 4 shards, client1", "kafka, 4 shards, client100"]
    for rows in pairs.values():
        assert [(other.workflows_per_s, this.workflows_per_s) for other, this in rows] == [(1.0, 11.0), (2.0, 12.0)]


def test_incomplete_pairs_are_left_out():
    """A pair of which one side was not measured yet takes no part in the comparison."""
    runs = [public.Run(1, "other", row()), public.Run(1, "this", row()), public.Run(2, "other", row())]
    (rows,) = public.paired(runs).values()
    assert len(rows) == 1
    assert public.compared(runs[:1]) == {}


def test_options_choose_stages_and_loads():
    """Log and shards choose stages, a predicate chooses their loads, and stages without loads are left out."""
    chosen = public.chosen(public.FULL, log="kafka", shards=4, load=lambda load: load.name == "client1")
    assert [(stage.log, stage.shards, [load.name for load in stage.workloads]) for stage in chosen] == [
        ("kafka", 4, ["client1"])
    ]
    assert public.chosen(public.FULL, log=None, shards=None, load=lambda load: False) == []


def test_a_checkout_that_imports_another_penstock_is_refused(tmp_path):
    """A measurement in which `penstock` came from outside of the checkout raises."""
    report = Report(penstock=str(tmp_path / "penstock" / "__init__.py"), seconds=1, p50_ms=1, p95_ms=1, cpu_s=1)
    check_origin(report, Checkout("other", tmp_path, Path(sys.executable)))
    with pytest.raises(RuntimeError, match="imported from"):
        check_origin(report, this_checkout())


def test_a_checkout_without_an_environment_is_refused(tmp_path):
    """A folder without `.venv` cannot be compared with: code 2 and a sentence that names `make setup`."""
    with pytest.raises(FileNotFoundError, match="make setup"):
        other_checkout(tmp_path)
    done = run("--against", tmp_path, "--log", "embedded", "--out", tmp_path / "rows.json")
    assert done.returncode == 2
    assert "make setup" in done.stderr


def test_options_that_match_no_row_are_refused(tmp_path):
    """Options that match no row end with code 2 and a sentence."""
    done = run("--log", "embedded", "--shards", "4", "--out", tmp_path / "rows.json")
    assert done.returncode == 2
    assert "no row" in done.stderr


def test_a_short_run_on_the_embedded_log(tmp_path):
    """A real run of one row measures rates, latencies, CPU time and the records of five activities a workflow."""
    out = tmp_path / "rows.json"
    done = run("--quick", "--log", "embedded", "--workload", "client1", "--out", out)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "client1" in done.stdout
    (made,) = json.loads(out.read_text())
    assert set(made) == set(PublicRow.__struct_fields__)
    assert (made["log"], made["mode"], made["in_flight"], made["shards"]) == ("embedded", "client", 1, 1)
    assert made["activities_per_s"] == pytest.approx(5 * made["workflows_per_s"], rel=0.01)
    assert 0 < made["p50_ms"] <= made["p95_ms"]
    assert set(made["cpu_s_per_1000_workflows"]) == {"processor", "worker", "client"}
    assert made["requests_per_workflow"] is None
    assert made["records_per_workflow"]["tasks.default"] == 5
    assert made["records_per_workflow"]["results"] == 5
    # Each task and each result holds 200 characters.
    assert made["bytes_per_workflow"]["tasks.default"] > 5 * 200
    assert made["bytes_per_workflow"]["results"] > 5 * 200
