"""Tests of `result`, `cancel` and `terminate` on a running namespace."""

from penstock.schemas.values.tokens import AttemptToken, token_keys, write_token
from tests.penstock.cli.helpers import one_message


def test_a_run_that_fails(run):
    """A failed run is exit code 1 and a message with its cause, from start and from result."""
    run("start", "cli-trial", "--id", "fails", "--input", "-1")
    one_message(run("result", "fails", code=1), "fails failed", "ValueError: too small")
    started = run("start", "cli-trial", "--id", "fails-too", "--input", "-1", "--wait", code=1)
    assert "ValueError: too small" in started.stderr
    assert "too small" in run("history", "fails").stdout


def test_cancel_and_terminate(run):
    """cancel and terminate end a run; its result is then exit code 1, and the history has the reason."""
    for verb in ("cancel", "terminate"):
        run("start", "cli-waits", "--id", verb)
        run(verb, verb, "--reason", "stock-taking")
        one_message(run("result", verb, "--timeout", "20s", code=1), verb)
        assert "stock-taking" in run("history", verb).stdout


def test_a_timeout(run):
    """A wait that times out is exit code 5; the message says that the run stays open and which command shows it."""
    run("start", "cli-waits", "--id", "slow")
    one_message(run("result", "slow", "--timeout", "300ms", code=5), "stays open", "penstock show slow")


def test_a_timeout_in_seconds(run):
    """A --timeout without a unit is in seconds."""
    run("start", "cli-waits", "--id", "bare")
    one_message(run("result", "bare", "--timeout", "0.3", code=5), "bare did not close")


def test_a_signal_with_an_id_is_received_once(run):
    """Sent again with the same --signal-id, a signal has no effect, and the command succeeds as before."""
    run("start", "cli-ticket", "--id", "paid")
    for _ in range(2):
        assert "paid received the signal note" in run("signal", "paid", "note", "--signal-id", "ticket-81").stderr
    run("signal", "paid", "go", "--input", "7")
    assert run("history", "paid").stdout.count("note") == 1


def test_query_and_update(run):
    """update prints the handler's result, with --no-wait the update's id; query prints what the code answers."""
    run("start", "cli-claim", "--id", "claim")
    assert run("query", "claim", "status").stdout == "1\n"
    for _ in range(2):
        assert run("update", "claim", "amend", "--input", "4", "--id", "u-1").stdout == "5\n"
    assert run("update", "claim", "amend", "--input", "1", "--id", "u-2", "--no-wait").stdout == "u-2\n"
    assert run("query", "claim", "status", "--timeout", "20s").stdout == "6\n"


def test_a_query_or_update_that_fails(run):
    """An unknown name, and a handler that raises, are exit code 1 and one message that names the cause."""
    run("start", "cli-claim", "--id", "refuses")
    one_message(run("query", "refuses", "nothing", code=1), "nothing", "status")
    one_message(run("update", "refuses", "nothing", code=1), "nothing", "amend")
    one_message(run("update", "refuses", "amend", "--input", "-1", code=1), "too little")
    one_message(run("query", "missing", "status", code=4), "missing")


def test_pause_and_resume(run):
    """pause halts a run, which list and show say with who asked for it and why; resume lets it go on."""
    run("start", "cli-waits", "--id", "halted")
    run("pause", "halted", "--reason", "look into it", "--by", "ann")
    assert "halted" in run("list", "--status", "paused").stdout
    shown = run("show", "halted").stdout
    assert "by ann: look into it" in shown and "penstock resume halted" in shown
    run("resume", "halted", "--by", "bob")
    assert run("list", "--status", "paused").stdout == ""
    history = run("history", "halted").stdout
    assert "WorkflowPaused" in history and "WorkflowResumed  bob" in history


def test_skip_names_what_is_pending(run):
    """skip refuses an activity that the run does not wait for, and a result that is no JSON."""
    run("start", "cli-waits", "--id", "skipped")
    one_message(run("skip", "skipped", "charge", code=2), "waits for no activity 'charge'; it waits for none")
    one_message(run("skip", "skipped", "3", "--result", "1", code=1), "waits for no activity with the number 3")


def test_change_activity(run):
    """change-activity refuses an activity that the run does not wait for, and options that cannot be read."""
    run("start", "cli-waits", "--id", "changed")
    one_message(run("change-activity", "changed", "3", "--now", code=1), "waits for no activity with the number 3")
    one_message(run("change-activity", "changed", "3", "--timeout", "soon", code=2), "soon")
    one_message(run("change-activity", "changed", "9" * 20, "--now", code=2), "is no number of an activity")
    one_message(run("change-activity", "changed", "3", "--retries", "9" * 20, code=2), "is invalid")
    one_message(run("change-activity", "changed", "3", "--retries", "-1", code=2), "--retries '-1' is invalid")


def test_complete_and_fail_take_a_token(run):
    """complete and fail refuse what is no token at once, and a token of an attempt that is over with the reason."""
    run("start", "cli-waits", "--id", "outside")
    token = write_token(AttemptToken("outside", "", 1, 1, 0), token_keys("", "penstock", "cli")[0])
    one_message(run("complete", "nonsense", "--result", "1", code=2), "This is no token of an activity")
    one_message(run("complete", token, "--result", "1", code=1), "no longer waits for activity 1")
    one_message(run("fail", token, "gone", "--final", "--retry-after", "1s", code=1), "no longer waits for activity 1")


def test_reset_and_retry(run):
    """reset lets a run go on from an event, which show says; retry one that failed; what cannot be done is refused."""
    run("start", "cli-waits", "--id", "goes-on")
    run("reset", "goes-on", "--to-event", "0", "--reason", "wrong way", "--by", "ann")
    assert "from event 0 of the run" in run("show", "goes-on").stdout
    assert "ann wrong way" in run("history", "goes-on").stdout
    one_message(run("reset", "goes-on", "--to-event", "99", code=1), "so it has no event 99")
    one_message(run("retry", "goes-on", code=1), "goes-on has not failed, and only a failed run can be retried")
    run("start", "cli-trial", "--id", "failed", "--input", "-1")
    run("retry", "failed", "--by", "bob")
    assert "WorkflowForked" in run("history", "failed").stdout


def test_delete(run):
    """delete removes a closed run at once, an open one with --force alone; then there is no such run."""
    run("start", "cli-waits", "--id", "unwanted")
    one_message(
        run("delete", "unwanted", code=1), "unwanted is running, and only closed runs are deleted: terminate it"
    )
    assert "unwanted was deleted" in run("delete", "unwanted", "--force", "--reason", "a test").stderr
    one_message(run("show", "unwanted", code=4), "There is no run with the id unwanted")
    one_message(run("delete", "unwanted", code=4), "There is no run with the id unwanted")
