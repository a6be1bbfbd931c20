"""Tests of the text that `show` prints for a run, as described by the reads."""

import pytest

from penstock.cli import output, run_text
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.failure import Failure
from penstock.workers.activity.decorator import activity as activity_of
from tests.engine.stage import Stage

NOW_MS = 1_700_000_000_000
SECOND_MS, HOUR_MS, DAY_MS = 1_000, 3_600_000, 86_400_000
FAILURE = {"type": "bank.CardDeclined", "message": "no\nfunds", "kind": "error", "traceback": "", "causes": []}

RUN = {
    "workflow_id": "order-1", "run_id": "r", "type": "fulfil", "version": 2, "status": "running",
    "started_ms": NOW_MS - 12 * SECOND_MS, "closed_ms": None, "cancel_requested": False, "reason": None, "result": None,
    "failure": None, "blocked_reason": None, "blocked_message": None, "parent_workflow_id": None,
    "pending_activities": [], "pending_timers": [], "pending_children": [],
}  # fmt: skip
NO_WAITS = "nothing: no activity, timer, child, signal or condition is pending; its code may be running"


def activity(name, attempt=1, **fields):
    return {
        "activity": name, "attempt": attempt, "queue": "default", "retry_ms": 0, "failure": None, "retries_max": -1,
        "scheduled_ms": NOW_MS - 5 * SECOND_MS, **fields,
    }  # fmt: skip


@pytest.fixture
def shown(capsys):
    """Return the lines of a run that differs from RUN in these fields, without those that every run has."""

    def lines(**fields):
        run_text.print_run({**RUN, **fields}, NOW_MS)
        return [line for line in capsys.readouterr().out.splitlines() if line.split()[0] not in ("run", "started")]

    return lines


def test_the_head(capsys):
    """The first line has id, type, version and status; run id and age follow."""
    run_text.print_run(RUN, NOW_MS)
    head, run, started, waits = capsys.readouterr().out.splitlines()
    assert head == "order-1  fulfil version 2  RUNNING"
    assert run == "  run      r"
    assert started == f"  started  {output.moment(RUN['started_ms'])} (12 s ago)"
    assert waits == f"  waits    for {NO_WAITS}"


def test_activities_under_way(shown):
    """Equal activities share one line with their number and the age of the oldest."""
    later = activity("charge", queue="bank", scheduled_ms=NOW_MS - SECOND_MS)
    pending = [activity("reserve"), later, activity("reserve", scheduled_ms=NOW_MS - 180 * SECOND_MS)]
    assert shown(pending_activities=pending)[1:] == [
        "  waits    for activity reserve (2 of them), attempt 1 on default, first scheduled 3 min ago",
        "           for activity charge, attempt 1 on bank, scheduled 1 s ago",
    ]


def test_an_activity_that_is_tried_again(shown):
    """An activity between two attempts shows the next attempt, when it is due, the limit, and the last failure."""
    retry_ms = NOW_MS + 58 * SECOND_MS
    pending = [activity("charge", 2, retry_ms=retry_ms, retries_max=10, failure=FAILURE)]
    (line,) = shown(pending_activities=pending)[1:]
    assert line == (
        f"  waits    for activity charge, attempt 3 of 11 on default, due at {output.clock(retry_ms)[:8]} (in 58 s); "
        "attempt 2 failed: CardDeclined: no funds"
    )


def test_an_activity_that_is_being_tried_again(shown):
    """While a worker has the next attempt, the failure of the last one is still shown."""
    (line,) = shown(pending_activities=[activity("charge", 3, failure=FAILURE)])[1:]
    assert line.endswith(
        "activity charge, attempt 3 on default, scheduled 5 s ago; attempt 2 failed: CardDeclined: no funds"
    )


def test_signals_and_conditions(shown):
    """Awaited signals and conditions follow the pending work; signals that were not read are listed."""
    lines = shown(
        pending_timers=[{"due_ms": NOW_MS + HOUR_MS}], signals_awaited=["approval", "stop"], conditions_awaited=2,
        signals_unread={"aproval": 2, "other": 1},
    )  # fmt: skip
    assert lines[1:] == [
        "  unread   signal aproval (2 of them), other, for which its code has not waited",
        f"  waits    for a timer due at {output.clock(NOW_MS + HOUR_MS)[:8]} (in 60 min)",
        "           for signal approval",
        "           for signal stop",
        "           for 2 conditions",
    ]


def test_timers(shown):
    """Timers are sorted by due time; distant ones have a date, late ones are marked as overdue."""
    far_ms = NOW_MS + 3 * DAY_MS
    pending = [{"due_ms": far_ms}, {"due_ms": NOW_MS + 2 * HOUR_MS}, {"due_ms": far_ms}, {"due_ms": NOW_MS - 4_000}]
    assert shown(pending_timers=pending)[1:] == [
        f"  waits    for a timer due at {output.clock(NOW_MS - 4_000)[:8]} (4 s overdue)",
        f"           for a timer due at {output.clock(NOW_MS + 2 * HOUR_MS)[:8]} (in 2 h)",
        f"           for 2 timers due at {output.moment(far_ms)} (in 3 d)",
    ]


def test_children(shown):
    """Child workflows are shown with their types, and a child's parent with its id."""
    children = [
        {"workflow_id": "ship-1", "workflow_type": "ship"},
        {"workflow_id": "ship-2", "workflow_type": "ship", "state": "started", "parent_close": "abandon"},
        {"workflow_id": "ship-3", "workflow_type": "ship", "state": "stopping", "parent_close": "terminate"},
    ]
    lines = shown(pending_children=children, parent_workflow_id="basket-7")
    assert lines[1:] == [
        "  parent   basket-7",
        "  waits    for child ship-1 of type ship",
        "           for child ship-2 of type ship, started; left alone when its parent closes",
        "           for child ship-3 of type ship, asked to stop; terminated when its parent closes",
    ]


def test_control_characters_in_names(shown):
    """Control characters in names are shown as escapes."""
    lines = shown(workflow_id="a\nb", pending_children=[{"workflow_id": "c\x1b[31m", "workflow_type": "ship"}])
    assert lines == [r"a\nb  fulfil version 2  RUNNING", r"  waits    for child c\x1b[31m of type ship"]


def test_many_waits(shown):
    """After twenty lines the number of the others is shown, with the option that shows all."""
    children = [{"workflow_id": f"ship-{number}", "workflow_type": "ship"} for number in range(30)]
    lines = shown(pending_children=children)[1:]
    assert len(lines) == 21
    assert lines[-1] == "           and 10 more; `--output json` shows all"


def test_waiting(shown):
    """A run that waits for a processor with its type shows that, and no remedy; then what no live process hosts."""
    lines = shown(
        status="waiting", blocked_reason="unhosted_type", blocked_message="another one has it",
        unhosted=["no live worker hosts the activity pay"],
    )  # fmt: skip
    assert "  waits    another one has it" in lines
    assert "  missing  no live worker hosts the activity pay" in lines
    assert not any("remedy" in line for line in lines)


def test_blocked(shown):
    """A BLOCKED run shows the reason, the remedy and the pending work."""
    lines = shown(
        status="blocked", blocked_reason="missing_topic", blocked_message="There is no topic x:\nmake it.",
        pending_activities=[activity("charge")], cancel_requested=True,
    )  # fmt: skip
    assert lines == [
        "order-1  fulfil version 2  BLOCKED",
        "  cancel   requested; its code receives it when it continues",
        "  blocked  missing_topic: There is no topic x: make it.",
        "  remedy   penstock unblock order-1  (processors also try it when they start)",
        "  pending  activity charge, attempt 1 on default, scheduled 5 s ago",
    ]


def test_blocked_by_a_bug(shown):
    """A run that a bug blocked shows the error on one line, and its traceback below, line by line."""
    lines = shown(
        status="blocked", blocked_reason="code_error",
        blocked_message='mend the code: NameError: x\nTraceback (most recent call last):\n  File "a.py"',
    )  # fmt: skip
    assert lines[1] == "  blocked  code_error: mend the code: NameError: x"
    assert lines[3:5] == ["           Traceback (most recent call last):", '             File "a.py"']


def test_asked_to_stop(shown):
    """A requested cancellation is shown until the run closes."""
    assert shown(cancel_requested=True)[1] == "  cancel   requested; its code may be cleaning up"


@pytest.mark.parametrize(
    ("status", "fields", "lines"),
    [
        ("completed", {"result": {"a": [1]}}, ['  result   {"a":[1]}']),
        ("completed", {}, ["  result   null"]),
        ("failed", {"failure": FAILURE}, ["  failure  CardDeclined: no funds"]),
        ("cancelled", {"reason": "not\nwanted", "cancel_requested": True}, ["  reason   not wanted"]),
        ("terminated", {"reason": ""}, []),
    ],
)
def test_closed(shown, status, fields, lines):
    """A closed run shows when it closed, its duration and its outcome, and no waits."""
    closed_ms = NOW_MS - 2 * SECOND_MS
    assert shown(status=status, closed_ms=closed_ms, **fields) == [
        f"order-1  fulfil version 2  {status.upper()}",
        f"  closed   {output.moment(closed_ms)} (after 10 s)",
        *lines,
    ]


def test_traceback_of_a_failed_run(shown):
    """A failed run shows the traceback of its failure."""
    trace = 'Traceback (most recent call last):\n  File "flow.py", line 7, in fulfil\nCardDeclined: no funds\n'
    lines = shown(status="failed", closed_ms=NOW_MS, failure={**FAILURE, "traceback": trace})
    assert lines[-4:] == [
        "  failure  CardDeclined: no funds",
        "           Traceback (most recent call last):",
        '             File "flow.py", line 7, in fulfil',
        "           CardDeclined: no funds",
    ]


@activity_of(name="run-text-charge", retries=3, backoff=[4, 4])
async def charge(total: int) -> int: ...


@workflow(name="run-text-pays")
async def pays() -> int:
    return await charge(7)


def test_an_activity_through_its_retry(capsys):
    """The text is right while an activity is tried, has failed and is due again, and is retried."""
    stage = Stage(pays)
    stage.start(pays)

    def waits():
        run_text.print_run(stage.described(), stage.now_ms)
        line = capsys.readouterr().out.splitlines()[-1]
        return line.replace(output.clock(stage.now_ms + 4_000)[:8], "SOON")

    assert waits() == "  waits    for activity run-text-charge, attempt 1 of 4 on default, scheduled 0 ms ago"
    stage.fail(stage.take("tasks")[0], Failure(type="Declined", message="no funds"))
    assert waits() == (
        "  waits    for activity run-text-charge, attempt 2 of 4 on default, due at SOON (in 4 s); "
        "attempt 1 failed: Declined: no funds"
    )
    stage.advance(5)
    assert waits() == (
        "  waits    for activity run-text-charge, attempt 2 of 4 on default, scheduled 5 s ago; "
        "attempt 1 failed: Declined: no funds"
    )


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0, "0 ms"), (999, "999 ms"), (1_400, "1 s"), (119_000, "119 s"), (-150_000, "2 min"), (7_190_000, "120 min"),
     (47 * HOUR_MS, "47 h"), (48 * HOUR_MS, "2 d")],
)  # fmt: skip
def test_spans(milliseconds, words):
    """A duration is shown in the largest unit of which it has at least two."""
    assert run_text.span(milliseconds) == words


def test_what_describes_the_run(shown):
    """Details, search attributes, memo and place in its chain have a line each."""
    lines = shown(
        details={"step": 3}, search={"customer": "c1", "total": 1.5}, memo={"by": "ann"},
        chain_length=2, first_run_id="r0", retries=0,
    )  # fmt: skip
    assert lines[1:5] == [
        "  chain    run 3 of the chain that began with r0",
        '  details  {"step":3}',
        '  search   customer="c1", total=1.5',
        '  memo     {"by":"ann"}',
    ]
    (chain,) = (line for line in shown(chain_length=1, first_run_id="r0", retries=1) if "chain" in line)
    assert chain.endswith("after 1 that failed with the same input")


def test_updates_and_handlers(shown):
    """Updates that have not ended, and what the code answers to, are listed."""
    updates = [
        {"update": "amend", "update_id": "u1", "state": "accepted"},
        {"update": "rename", "update_id": "u2", "state": "held"},
    ]
    handlers = {"signals": ["add"], "queries": ["status", "total"], "updates": []}
    assert shown(open_updates=updates, handlers=handlers)[1:4] == [
        "  update   amend (u1) runs",
        "  update   rename (u2) waits for its handler",
        "  answers  queries status, total; signals add",
    ]
    closed = shown(handlers=handlers, status="completed", closed_ms=NOW_MS, result=1)
    assert "  answers  queries status, total" in closed


def test_a_delayed_start(shown):
    """A run that has not begun shows when it begins, and that it waits for that."""
    lines = shown(begins_ms=NOW_MS + 60 * SECOND_MS, deadline_ms=NOW_MS + 120 * SECOND_MS)
    assert lines[1].startswith("  begins   at ")
    assert lines[1].endswith("(in 60 s)")
    assert lines[2].endswith("(in 2 min) at the latest")
    assert lines[3] == "  waits    for the end of the delay of its start"
