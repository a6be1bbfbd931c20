"""Commits of the simulation: they proceed step by step between other events, with planned faults.

The production function `commit` does the work. An exception suspends it between two steps; later it runs again from
its beginning, with recorded answers for the finished steps. So neither a thread nor a copy of it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from penstock.schemas.errors import LogUnavailable, OutcomeUnknown, TransactionAborted
from penstock.topics.commit import Outcome, Turn, commit
from penstock.topics.log import CommittedOffset, Member, Record, TopicPartition, Transactor
from tests.simulation.client import SimTransactor

BEFORE, AFTER = "before", "after"
STEPS = ("begin", "produce", "offsets", "commit", "abort")


class Fault:
    """Planned fault of one commit: its kind, its step, and whether it strikes before or after the step.

    Kinds: `crash`, `half` (crash after half of the records), `aborted`, `unknown`, `delayed` (unknown, and the call to
    commit reaches the log later), `unavailable`, `abort_lost` (aborted, and the abort's outcome unknown)."""

    def __init__(self, kind: str, step: str = "", when: str = BEFORE) -> None:
        assert step in STEPS or not step
        self.kind, self.step, self.when = kind, step, when

    def __str__(self) -> str:
        return f"{self.kind} {self.when} {self.step}"


class Host(Protocol):
    """Process whose commits these are."""

    def plan_commit(self, turn: Turn) -> Fault | None:
        """The fault of this commit; None for none."""

    def suffer(self, what: str) -> None:
        """Add a planned fault that struck to the story."""

    def crash(self, why: str) -> None:
        """End the process. Raises SimulatedCrash."""

    def delay_commit(self, transactional_id: str, epoch: int) -> None:
        """Let a call to commit reach the log later."""


class Suspended(BaseException):
    """The commit is suspended before its next step."""


class SimCommits:
    """The commit port, over transactions that proceed step by step, or to their end when a caller waits."""

    def __init__(self, host: Host, transactor: SimTransactor) -> None:
        self._host, self._transactor = host, transactor
        self.flight: SimFuture | None = None

    def submit(self, turn: Turn, member: Member) -> Future[Outcome]:
        assert self.flight is None or self.flight.done(), "one turn at a time"
        steps = _Steps(self._transactor, self._host, self._host.plan_commit(turn))
        self.flight = SimFuture(lambda: commit(steps, member, turn), steps)
        return self.flight

    def recover(self, timeout_s: float) -> None:
        self._transactor.recover(timeout_s)

    @property
    def epoch(self) -> int:
        """Epoch of the transactional id that it recovered last."""
        return self._transactor.epoch

    def close(self) -> None:
        """There is no thread to end."""


class SimFuture(Future[Outcome]):
    """A commit in progress. `result` runs it to its end."""

    def __init__(self, run: Callable[[], Outcome], steps: _Steps) -> None:
        super().__init__()
        self._run, self._steps = run, steps
        self.is_running = False

    def result(self, timeout: float | None = None) -> Outcome:
        while not self.done():
            self.advance()
        return super().result(0)

    def advance(self) -> None:
        """Do one more step. Raises SimulatedCrash."""
        assert not self.is_running, "a commit has one thread"
        self.is_running = True
        self._steps.allow_one_more()
        try:
            self.set_result(self._run())
        except Suspended:
            return
        finally:
            self.is_running = False


class _Steps:
    """A Transactor that repeats the answers of finished steps and suspends before the next one."""

    def __init__(self, real: Transactor, host: Host, fault: Fault | None) -> None:
        assert isinstance(real, SimTransactor)
        self._real, self._host, self._fault = real, host, fault
        self._answers: list[Any] = []
        self._allowed = self._at = 0

    def allow_one_more(self) -> None:
        self._allowed = len(self._answers) + 1
        self._at = 0

    def begin(self) -> None:
        self._step("begin", self._real.begin)

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        self._step("produce", lambda: self._produce(records, track))

    def offsets(self, offsets: Mapping[TopicPartition, CommittedOffset], member: Member) -> None:
        self._step("offsets", lambda: self._real.offsets(offsets, member))

    def commit(self) -> Mapping[TopicPartition, int]:
        ends: Mapping[TopicPartition, int] = self._step("commit", self._real.commit)
        return ends

    def abort(self) -> None:
        self._step("abort", self._real.abort)

    def recover(self, timeout_s: float) -> None:
        raise AssertionError("recovery is not a step of a commit")

    def close(self) -> None:
        raise AssertionError("closing is not a step of a commit")

    def _step(self, name: str, act: Callable[[], Any]) -> Any:
        index, self._at = self._at, self._at + 1
        if index < len(self._answers):
            return _answered(self._answers[index])
        if index >= self._allowed:
            raise Suspended
        try:
            self._strike(name, BEFORE)
            answer: Any = act()
            self._strike(name, AFTER)
        except Exception as error:  # kept, and raised again when the commit is resumed
            answer = error
        self._answers.append(answer)
        return _answered(answer)

    def _produce(self, records: Sequence[Record], track: frozenset[TopicPartition]) -> None:
        fault = self._fault
        if fault is not None and fault.kind == "half":
            self._real.produce(records[: len(records) // 2], track)
            self._host.crash("crashes with half of a transaction's records sent")
        self._real.produce(records, track)

    def _strike(self, step: str, when: str) -> None:
        fault = self._fault
        if fault is None:
            return
        if fault.kind == "abort_lost" and step == "abort" and when == BEFORE:
            self._host.suffer("the abort's answer is lost")
            raise OutcomeUnknown("the abort was not answered")
        if (fault.step, fault.when) != (step, when):
            return
        if fault.kind == "crash":
            self._host.crash(f"crashes {when} its transaction's {step}")
        if fault.kind == "delayed":
            self._real.flush()
            self._host.delay_commit(self._real.id, self._real.epoch)
        if fault.kind in _ERRORS:
            self._host.suffer(f"its transaction's {step} fails ({fault.kind}, {when} it took effect)")
            raise _ERRORS[fault.kind](f"planned: {fault}")


_ERRORS: dict[str, Callable[[str], Exception]] = {
    "aborted": TransactionAborted,
    "abort_lost": TransactionAborted,
    "unknown": OutcomeUnknown,
    "delayed": OutcomeUnknown,
    "unavailable": LogUnavailable,
}


def _answered(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
