"""Parts of the flights example, each without a workflow."""

from __future__ import annotations

import datetime as dt
import io
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from examples.flights import data, expected, kills, report
from examples.flights.data import Flight, Plane
from examples.flights.departures import decision_of
from examples.flights.totals import COLUMNS, Row, Totals, counts_of
from examples.flights.workflow import (
    DENIED,
    FLOWN,
    REBOOKED,
    SPARE_SEATS,
    STRANDED,
    Outcome,
    needs_approval,
    needs_rebooking,
)
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.completions import WorkflowClosed
from penstock.topics.log import StoredRecord

PARTITION = ("completions", 0)
OUTCOME = Outcome(
    date=dt.date(2013, 1, 1),
    carrier="UA",
    airline="United",
    end=FLOWN,
    dep_delay=7,
    asked=False,
    plane=Plane("737", 149),
    weather=None,
)


def plain_outcome(flight: Flight) -> Outcome:
    """Return the outcome that a flight must have, computed without a workflow."""
    plane = data.planes().get(flight.tailnum or "")
    end = FLOWN
    if needs_rebooking(flight):
        end = STRANDED if plane and plane.seats > SPARE_SEATS else REBOOKED
        if needs_approval(flight) and not decision_of(flight.distance).ok:
            end = DENIED
    weather = data.weather().get((flight.origin, flight.hour))
    airline = data.airlines()[flight.carrier]
    asked = needs_approval(flight)
    return Outcome(flight.date, flight.carrier, airline, end, flight.dep_delay, asked, plane, weather)


def completion(offset: int, id: str, outcome: Outcome | None) -> StoredRecord:
    """Return the record of a closed run; without an outcome, of a failed one."""
    closed = WorkflowClosed(
        workflow_id=id,
        run_id=f"run-{id}",
        workflow_type="flight",
        version=1,
        status="completed" if outcome else "failed",
        result=msgspec.json.encode(outcome),
        failure=None if outcome else Failure(type="ValueError", message="broken"),
        started_ms=1,
        closed_ms=2,
    )
    return StoredRecord(*PARTITION, offset, id.encode(), encode(closed))


def totals_of(days: int) -> dict[str, Row]:
    """Add up the totals by carrier, flight after flight."""
    found: dict[str, Counter[str]] = {}
    for flight in data.flights(days):
        outcome = plain_outcome(flight)
        found.setdefault(outcome.carrier, Counter(dict.fromkeys(COLUMNS, 0))).update(counts_of(outcome))
    return {carrier: dict(counts) for carrier, counts in found.items()}


def test_rules_agree_for_the_whole_year() -> None:
    """The totals of the year by the workflow's rules are those that pandas computes from the tables."""
    year = totals_of(data.DAYS_MAX)
    assert year == expected.totals(data.DAYS_MAX)
    assert sum(row["flights"] for row in year.values()) == 336_776


def test_every_branch_on_the_first_day() -> None:
    """The 842 flights of day 1 include every possible end, so that their test reaches each branch."""
    ends = Counter(plain_outcome(flight).end for flight in data.flights(1))
    assert ends == {FLOWN: 830, REBOOKED: 10, STRANDED: 1, DENIED: 1}


def test_names_are_unique() -> None:
    """No two flights of the year have the same name, which is part of the workflow's id."""
    names = [flight.name for flight in data.flights(data.DAYS_MAX)]
    assert len(names) == len(set(names))


def test_counted_once(tmp_path: Path) -> None:
    """A completion that is delivered twice counts once, since the offset is written with the totals."""
    totals = Totals(tmp_path / "totals.sqlite3", {PARTITION: 0})
    records = [completion(0, "run1-a", OUTCOME), completion(1, "run1-b", OUTCOME)]
    assert totals.add(records, "run1-") == {PARTITION: 2}
    assert totals.add([*records, completion(2, "run1-c", OUTCOME)], "run1-") == {PARTITION: 3}
    totals.close()
    again = Totals(tmp_path / "totals.sqlite3", {PARTITION: 0})
    assert again.offsets() == {PARTITION: 3}
    assert again.add(records, "run1-") == {PARTITION: 3}
    assert again.rows()["UA"]["flights"] == again.closed() == 3
    assert again.rows()["UA"]["delay_min"] == 21
    again.close()


def test_others_do_not_count(tmp_path: Path) -> None:
    """Runs with another program's prefix are skipped, and their offsets are not read again."""
    totals = Totals(tmp_path / "totals.sqlite3", {PARTITION: 0})
    assert totals.add([completion(0, "run2-a", OUTCOME)], "run1-") == {PARTITION: 1}
    assert totals.closed() == 0
    totals.close()


def test_nothing_half_written(tmp_path: Path) -> None:
    """A batch that cannot be decoded changes neither totals nor offsets."""
    totals = Totals(tmp_path / "totals.sqlite3", {PARTITION: 0})
    broken = StoredRecord(*PARTITION, 1, b"run1-b", b"not a record")
    with pytest.raises(Exception, match="record"):
        totals.add([completion(0, "run1-a", OUTCOME), broken], "run1-")
    assert totals.closed() == 0
    assert totals.offsets() == {PARTITION: 0}
    totals.close()


def verdict(wanted: dict[str, Row], counted: dict[str, Row], unfinished: list[tuple[str, str, str]]) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=80)
    code = report.verdict(console, wanted, report.Counted(counted, {}, unfinished), 1.0, Path("totals.sqlite3"))
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_difference_is_reported() -> None:
    """One wrong number among all totals gives exit code 1 and a line that names it."""
    wanted = expected.totals(1)
    counted = {carrier: dict(row) for carrier, row in wanted.items()}
    assert verdict(wanted, counted, [])[0] == 0
    counted["B6"]["stranded"] += 1
    code, output = verdict(wanted, counted, [])
    assert code == 1
    assert "B6 stranded: counted 2, expected 1" in output


def test_missing_airline_is_reported() -> None:
    """An airline without totals is a difference."""
    wanted = expected.totals(1)
    counted = {carrier: row for carrier, row in wanted.items() if carrier != "HA"}
    assert verdict(wanted, counted, [])[0] == 1


def test_failed_run_is_reported(tmp_path: Path) -> None:
    """A failed run counts as closed and makes the verdict negative, whatever the totals are."""
    totals = Totals(tmp_path / "totals.sqlite3", {PARTITION: 0})
    totals.add([completion(0, "run1-a", None)], "run1-")
    assert totals.closed() == 1
    code, output = verdict({}, {}, totals.unfinished())
    totals.close()
    assert code == 1
    assert "run1-a failed: broken" in output


@pytest.mark.parametrize("seed", range(20))
def test_kills_are_spread(seed: int) -> None:
    """Any seed kills a processor twice and a worker twice, in order, before the last fifth of the flights."""
    planned = kills.plan(seed, 842, ["processor-1", "worker-1", "worker-2"])
    kinds = sorted(kill.name.partition("-")[0] for kill in planned)
    assert kinds == ["processor", "processor", "worker", "worker"]
    moments = [kill.closed for kill in planned]
    assert moments == sorted(set(moments))
    assert moments[0] > 0
    assert moments[-1] <= 842 * 4 / 5
