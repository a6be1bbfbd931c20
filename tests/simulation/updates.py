"""Judgement of updates: each takes effect once, and its callers are given the outcome that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from penstock.schemas.records.replies import Accepted, Rejected, UpdateClosed
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.records.update import UpdateCompleted, UpdateFailed, UpdateHeld, UpdateTaken
from tests.simulation.model import FAILED, REJECTED, accepted_updates, update_outcome
from tests.simulation.truth import Run

REFUSALS = frozenset({"blocked", "already_closed", "not_found"})
"""Why an update may be refused whatever its value is."""


def judge(command: Any, published: Sequence[Any], answers: Sequence[Any], runs: Sequence[Run]) -> str:
    """What is wrong with an update; empty for nothing.

    `published`: the commands under its message id; `runs`: of its workflow id."""
    expected = update_outcome(*_given(command))
    runs_of = [run for run in runs if any(_is_about(event, command.message_id) for event in run.events)]
    bases = {run.fork.base.run_id for run in runs if run.fork}
    line = [run for run in runs_of if run.run_id not in bases]
    return _history_problem(command, expected, line) or _answers_problem(command, expected, published, answers, runs_of)


def _given(command: Any) -> tuple[str, Any]:
    return command.update, msgspec.json.decode(getattr(command, "handed", b"") or command.input)


def _waits_for_end(command: Any) -> bool:
    return bool(command.await_result) if isinstance(command, StartWorkflow) else command.wait_for == "completed"


def _is_about(event: Any, message_id: str) -> bool:
    return type(event).__name__.startswith("Update") and event.message_id == message_id


def _history_problem(command: Any, expected: Any, runs: Sequence[Run]) -> str:
    """It began once at most, and ended as its handler does; one that a validator rejects did not begin."""
    began = [run for run in runs for message_id, *_ in accepted_updates(run) if message_id == command.message_id]
    ends = [event for run in runs for event in _of(run, (UpdateCompleted, UpdateFailed), command.message_id)]
    if len(began) > 1 or len(ends) > len(began):
        return f"it began in {list(map(str, began))} and ended with {ends}"
    if began and expected == REJECTED:
        return f"it began in {began[0]} although its validator rejects it"
    held = [run for run in runs if _of(run, (UpdateHeld,), command.message_id)]
    if any(len(_of(run, (UpdateHeld,), command.message_id)) > 1 for run in held):
        return f"one run holds it twice: {list(map(str, held))}"
    if any(before.run_id != after.started.previous_run_id for before, after in pairwise(held)):
        return f"{list(map(str, held))} hold it, which are no chain"
    if began and not ends and not began[0].is_closed:
        return f"it began in {began[0]} and did not end"
    for end in ends:
        if isinstance(end, UpdateCompleted):
            is_right = expected not in (FAILED, REJECTED) and msgspec.json.decode(end.result) == expected
        else:
            is_right = expected == FAILED or end.failure.type.endswith("CancelledError")
        if not is_right:
            return f"it ended with {end}, not {expected}"
    return ""


def _of(run: Run, kinds: tuple[type, ...], message_id: str) -> list[Any]:
    return [event for event in run.events if isinstance(event, kinds) and event.message_id == message_id]


def _answers_problem(
    command: Any, expected: Any, published: Sequence[Any], answers: Sequence[Any], runs: Sequence[Run]
) -> str:
    """What is wrong with its answers: the last run that took or held it gave them, or one from which that went on."""
    run = runs[-1] if runs else None
    asking = [found for found in published if found.reply_to >= 0]
    if not bool(asking) <= len(answers) <= len(asking):
        return f"it was asked {len(asking)} times and answered {len(answers)} times"
    ends = [found for found in answers if isinstance(found, UpdateClosed)]
    closed = {msgspec.json.encode((found.result, found.failure)) for found in ends}
    if len(closed) > 1:
        return f"it was answered otherwise each time: {answers}"
    for answer in answers:
        problems = [_answer_problem(command, expected, answer, one) for one in (runs if run and run.fork else [run])]
        if all(problems):
            return problems[-1]
    was_taken = run is not None and not any(taken.problem for taken in _of(run, (UpdateTaken,), command.message_id))
    was_rejected = any(isinstance(answer, Rejected) for answer in answers)  # before the run that held it was paused
    if was_taken and any(_waits_for_end(found) for found in asking) and not (closed or was_rejected):
        return f"its caller waits for its end and was answered {answers}"
    return ""


def _answer_problem(command: Any, expected: Any, answer: Any, run: Run | None) -> str:
    match answer:
        case Rejected(reason="update_rejected"):
            taken = _of(run, (UpdateTaken,), command.message_id) if run is not None else []
            is_right = expected == REJECTED or any("given up" in event.problem for event in taken)
        case Rejected():
            is_right = answer.reason in REFUSALS
        case Accepted():
            is_right = run is not None and any(found[0] == command.message_id for found in accepted_updates(run))
        case UpdateClosed():
            is_right = run is not None and _is_recorded(command, answer, run)
        case _:
            is_right = False
    return "" if is_right else f"it was answered {answer}, and {run} says otherwise"


def _is_recorded(command: Any, answer: UpdateClosed, run: Run) -> bool:
    """Whether the answer is the recorded outcome, or says that the run closed before."""
    ends = _of(run, (UpdateCompleted, UpdateFailed), command.message_id)
    if not ends:
        return run.is_closed and answer.failure is not None and answer.failure.kind == run.status
    recorded = (getattr(ends[0], "result", b""), getattr(ends[0], "failure", None))
    return (answer.result, answer.failure) == recorded


def judge_callers(published: Sequence[Any], answered: Sequence[tuple[int, Any]]) -> str:
    """What is wrong with who was answered; empty for nothing. `answered`: partitions of replies and answers.

    Callers are told apart by their partition and by what they wait for. Each of them has an answer, and no partition
    has more answers than it asked for."""
    for partition in {found.reply_to for found in published if found.reply_to >= 0}:
        asking = [found for found in published if found.reply_to == partition]
        answers = [answer for where, answer in answered if where == partition]
        if len(answers) > len(asking):
            return f"partition {partition} asked {len(asking)} times and was answered {answers}"
        if not answers:
            return f"a caller at partition {partition} was not answered"
        is_ended = any(isinstance(answer, UpdateClosed | Rejected) for answer in answers)
        if any(_waits_for_end(found) for found in asking) and not is_ended:
            return f"a caller at partition {partition} waits for its end and was answered {answers}"
    return ""
