"""Judgement of queries: an answer is of committed state, no older than the transaction before it, no newer than it.

Queries leave no record. So each is noted with the decisions of its shard that it must have seen, and those that it may
have seen: both follow from the order of the inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.engine.core.machines.query import is_late
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.pause import WorkflowPaused, WorkflowResumed
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.replies import QueryAnswered, Rejected
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.run import StartDelayEnded, WorkflowBlocked, WorkflowUnblocked
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.suspension import ActivationSuspended
from penstock.schemas.records.update import UpdateCompleted
from tests.simulation.broker import Entry
from tests.simulation.model import FAILED, accepted_updates, rash_values, update_outcome
from tests.simulation.story import Violation
from tests.simulation.truth import Run

_SCHEMA = encode(QueryWorkflow(workflow_id="", query=""))[:10]


def is_query(entry: Entry) -> bool:
    """Whether an input is a query, in Avro or JSON."""
    value = entry.value or b""
    return value.startswith(_SCHEMA) or b'"QueryWorkflow"' in value


class Read(NamedTuple):
    """A query and its answer. `low`, `high`: the shard's decisions that it must, and may, have seen."""

    command: QueryWorkflow
    answer: Any
    low: int
    high: int


class Reads:
    """Queries of one shard."""

    def __init__(self) -> None:
        self._decided = 0
        self.found: list[Read] = []

    def follow(
        self,
        asked: Sequence[tuple[int, QueryWorkflow, int]],
        decisions: Sequence[DecisionRecorded],
        answers: Mapping[str, list[Any]],
        written_ms: int,
    ) -> None:
        """Note the queries of a transaction. Raises Violation for one that was not answered.

        `asked`: offsets, commands and append times; `answers`: of the transaction, by message id; `written_ms`: when it
        was appended. A query whose caller had given up by then may be answered: the shard goes by the records that it
        read with it."""
        for offset, command, at_ms in reversed(asked):  # of one that was sent twice, the older one is dropped
            low, high = self._seen(offset, decisions)
            ours = answers.get(command.message_id, [])
            if ours:
                self.found.append(Read(command, ours.pop(), low, high))
            elif command.reply_to >= 0 and not is_late(command, at_ms, written_ms):
                raise Violation("Q (queries)", f"{command} was not answered")
        left = [command for _, command, _ in asked if answers.get(command.message_id)]
        if left:
            raise Violation("Q (queries)", f"{left[0]} was answered although it asked for no reply, or twice")
        self._decided = max([self._decided, *(decision.decision for decision in decisions)])

    def _seen(self, offset: int, decisions: Sequence[DecisionRecorded]) -> tuple[int, int]:
        """The last decisions that came before an input for certain, and perhaps."""
        low = high = self._decided
        for decision in decisions:
            trigger = decision.trigger
            if not trigger.topic or (trigger.topic == "commands" and trigger.offset > offset):
                break  # timers come after all inputs
            high = decision.decision
            if trigger.topic == "commands":
                low = decision.decision
        return low, high


def judge(read: Read, runs: Sequence[Run], *, may_differ: bool) -> str:
    """What is wrong with an answer; empty for nothing. `runs`: of its workflow id.

    `may_differ`: other builds of the code may be unable to repeat the history, and old runs may be gone."""
    answer = read.answer
    if isinstance(answer, Rejected):
        return "" if may_differ or _is_refusal(read, answer, runs) else f"it was refused: {answer}"
    answering = _answering(read, runs, answer.run_id)
    if not isinstance(answer, QueryAnswered) or not answering:
        return f"it was answered {answer}"
    if read.command.query == "sim_rash":
        return "" if answer.failure is not None else f"it changed its run, and was answered {answer}"
    if answer.failure is not None:
        return f"it was answered {answer}"
    found = msgspec.json.decode(answer.result)
    states = [_STATES[run.workflow_type](run, read.low, read.high) for run in answering]
    if any(_is_within(found, least, most) for least, most in states):
        return ""
    return f"it was answered {found}, and its run had {states} in decisions {read.low} to {read.high}"


def _answering(read: Read, runs: Sequence[Run], chain_id: str) -> list[Run]:
    """The runs of a chain that were the id's current one in the decisions that the query may have seen."""
    found = [run for run in runs if run.chain_id == chain_id and run.first_decision <= read.high]
    begun = [run for run in runs if run.first_decision <= read.low]
    followed = {run.fork.base.run_id if run.fork else run.started.previous_run_id for run in begun}
    return [run for run in found if run.run_id not in followed]


def _is_refusal(read: Read, answer: Rejected, runs: Sequence[Run]) -> bool:
    seen = [run for run in runs if run.first_decision <= read.high]
    match answer.reason:
        case "not_found":
            return not any(run.first_decision <= read.low for run in runs)
        case "unknown_query":  # the code has not begun
            return bool(seen) and not _has_begun(seen[-1], read.low)
        case "blocked":
            # Besides runs that are BLOCKED: an input over which processors died does not reach the code.
            return bool(seen) and (_was_blocked(seen[-1], read.high) or answer.message.endswith("history: "))
    return False


def _events(run: Run, last: int) -> list[list[Any]]:
    """Events of the run's decisions up to one of its shard."""
    return [[decode(data) for data in record.events] for record in run.records if record.decision <= last]


def _has_begun(run: Run, last: int) -> bool:
    decisions = [{type(event) for event in events} for events in _events(run, last)]
    if decisions and WorkflowPaused in decisions[0]:  # it was reset to its start while it was paused
        releasing = [WorkflowResumed in kinds or WorkflowForked in kinds for kinds in decisions[1:]]
        paused = [WorkflowPaused in kinds for kinds in decisions[1:]]
        return any(goes_on and not stays for goes_on, stays in zip(releasing, paused, strict=True))
    begins = any(isinstance(event, StartDelayEnded) for events in _events(run, last) for event in events)
    return begins or not run.started.begins_ms


def _was_blocked(run: Run, last: int) -> bool:
    return any(isinstance(event, WorkflowBlocked) for events in _events(run, last) for event in events)


def _is_within(found: list[int], least: list[int], most: list[int]) -> bool:
    return not Counter(least) - Counter(found) and not Counter(found) - Counter(most)


# State that the code of a run shows.


def _signals(run: Run, last: int) -> list[Any]:
    """Values of the signals that have reached the code for certain: it was not BLOCKED or suspended since."""
    reached: list[Any] = []
    waiting: list[Any] = []
    is_blocked = False
    for events in _events(run, last):
        kinds = {type(event) for event in events}
        waiting += [msgspec.json.decode(event.input) for event in events if isinstance(event, SignalReceived)]
        goes_on = not kinds.isdisjoint({WorkflowUnblocked, WorkflowResumed, WorkflowForked})
        is_blocked = (is_blocked and not goes_on) or not kinds.isdisjoint({WorkflowBlocked, WorkflowPaused})
        if not is_blocked and ActivationSuspended not in kinds and _has_begun(run, last):
            reached, waiting = reached + waiting, []
    return reached


def _received(run: Run, last: int) -> list[Any]:
    """Values of all signals."""
    received = [event for events in _events(run, last) for event in events if isinstance(event, SignalReceived)]
    return [msgspec.json.decode(event.input) for event in received]


def _account(run: Run, low: int, high: int) -> tuple[list[int], list[int]]:
    done = {event.message_id for events in _events(run, low) for event in events if isinstance(event, UpdateCompleted)}
    begun = {getattr(event, "message_id", "") for events in _events(run, high) for event in events}
    least, most = _signals(run, low), _received(run, high)
    for message_id, name, data in accepted_updates(run):
        value = msgspec.json.decode(data)
        if message_id in done:
            least.append(value)
        if message_id in begun and update_outcome(name, value) != FAILED:
            most.append(value)
    return least, [*most, *rash_values(run)]


def _relay(run: Run, low: int, high: int) -> tuple[list[int], list[int]]:
    given = msgspec.json.decode(run.started.input)
    count, seen = min(given["batch"], given["left"]), given["seen"]
    return [*seen, *_signals(run, low)[:count]], [*seen, *_received(run, high)[:count]]


_STATES = {"sim_account": _account, "sim_relay": _relay}
