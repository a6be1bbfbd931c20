"""Tests of the fold: the recorded events of a run, applied by `evolve` from nothing, give the rows of the store."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.core.keys import SHARD_KEY
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.retention import DeleteWorkflow
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.retry import RetryPolicy
from tests.engine.core import flows
from tests.engine.stage import Stage
from tests.simulation.fold import Fold

FLOWS = {
    "approved": (flows.approved, b"null"),
    "conditional": (flows.conditional, b"null"),
    "fan": (flows.fan, b"6"),
    "far_away": (flows.far_away, b"1"),
    "failing": (flows.failing, b"1"),
    "parent": (flows.parent, b'"kid"'),
    "retried": (flows.retried, b"1"),
    "sleeper": (flows.sleeper, b"5"),
    "travel": (flows.travel, b'["hotel", "car"]'),
}
IDS = ("a", "b")
RUNS = st.sampled_from(IDS)
RETRIES = RetryPolicy(retries_max=1, delays_ms=(2_000,))
MESSAGES = st.sampled_from(["m1", "m2", "m3", ""])
STEPS = st.one_of(
    st.tuples(
        st.just("start"),
        RUNS,
        st.sampled_from(sorted(FLOWS)),
        st.sampled_from(["use_existing", "reject", "restart_closed", "terminate_existing", "restart_failed"]),
        MESSAGES,
        st.sampled_from(
            [{}, {"run_timeout_ms": 3_000}, {"retry": RETRIES}, {"retry": RETRIES, "execution_timeout_ms": 3_000}]
        ),
    ),
    st.tuples(st.just("signal"), RUNS, st.sampled_from(["price", "go"]), MESSAGES),
    st.tuples(st.just("cancel"), RUNS, MESSAGES),
    st.tuples(st.just("terminate"), RUNS, MESSAGES),
    st.tuples(st.just("retry"), RUNS, MESSAGES),
    st.tuples(st.just("delete"), RUNS, MESSAGES, st.booleans()),
    st.tuples(st.just("await"), RUNS),
    st.tuples(st.just("complete"), st.integers(0, 5)),
    st.tuples(st.just("fail"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("pass"), st.sampled_from([1, 10, 4000])),
    st.tuples(st.just("topic")),
    st.tuples(st.just("restart")),
)


class Folded:
    """A stage whose events are folded as they are recorded."""

    def __init__(self) -> None:
        self.stage = Stage(*(flow for flow, _ in FLOWS.values()), flows.five)
        self.fold = Fold()
        self.tasks: list = []

    def do(self, step: tuple) -> None:
        """Take one step, and fold what it recorded."""
        getattr(self, f"_{step[0]}")(*step[1:])
        self.tasks += self.stage.take("tasks")
        for record in self.stage.take("events"):
            self.fold.apply(encode(record))

    def rows(self) -> dict[bytes, bytes]:
        """The rows of the store, without the shard's own."""
        return {key: value for key, value in self.stage.stores[0].scan(b"", b"\xff") if key != SHARD_KEY}

    def _start(self, id: str, flow: str, on_existing: str, message: str, bounds: dict) -> None:
        kind, input = FLOWS[flow]
        self.stage.tell(
            StartWorkflow(
                workflow_id=id,
                workflow_type=kind.name,
                input=input,
                on_existing=on_existing,
                message_id=message,
                **bounds,
            )
        )

    def _signal(self, id: str, name: str, message: str) -> None:
        message_id = message and f"signal-{message}"
        self.stage.tell(SignalWorkflow(workflow_id=id, signal=name, input=b"4", message_id=message_id))

    def _cancel(self, id: str, message: str) -> None:
        self.stage.tell(CancelWorkflow(workflow_id=id, message_id=message and f"cancel-{message}"))

    def _terminate(self, id: str, message: str) -> None:
        self.stage.tell(TerminateWorkflow(workflow_id=id, message_id=message and f"end-{message}"))

    def _retry(self, id: str, message: str) -> None:
        self.stage.tell(UnblockWorkflow(workflow_id=id, message_id=message and f"retry-{message}"))

    def _delete(self, id: str, message: str, force: bool) -> None:
        self.stage.tell(DeleteWorkflow(workflow_id=id, message_id=message and f"delete-{message}", force=force))

    def _await(self, id: str) -> None:
        self.stage.tell(AwaitResult(workflow_id=id, reply_to=0))

    def _complete(self, which: int) -> None:
        if self.tasks:
            task = self.tasks.pop(which % len(self.tasks))
            self.stage.complete(task, 3 if task.activity in {"add", "shaky"} else "done")

    def _fail(self, which: int, hard: bool) -> None:
        if self.tasks:
            task = self.tasks.pop(which % len(self.tasks))
            self.stage.fail(task, Failure(type="app.Busy", message="busy", non_retryable=hard))

    def _pass(self, seconds: float) -> None:
        self.stage.advance(seconds)

    def _topic(self) -> None:
        self.stage.queues.add("elsewhere")
        self.stage.nodes[0].blocked.try_again("missing_topic")
        self.stage.tick()

    def _restart(self) -> None:
        self.stage.restart()


@settings(derandomize=True, deadline=None, database=None, max_examples=150)
@given(st.lists(STEPS, min_size=3, max_size=25))
def test_events_fold_into_the_rows_of_the_store(steps: list[tuple]) -> None:
    """After every input, the events recorded so far give the rows that the store has, to the byte."""
    folded = Folded()
    for step in steps:
        folded.do(step)
        assert folded.fold.rows == folded.rows(), step


def test_a_long_history_folds_in_portions() -> None:
    """A decision recorded in several portions gives the same rows as when it was decided."""
    folded = Folded()
    folded.stage = Stage(flows.fan)
    folded.stage.start(flows.fan, 300)
    for record in folded.stage.take("events"):
        folded.fold.apply(encode(record))
    assert folded.fold.rows == folded.rows()
