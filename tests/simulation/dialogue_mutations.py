"""Mutations of what the scenarios of dialogues.py use, each without one safeguard: chains,
updates, queries, starts that hand something over, wait for the end or are delayed, time limits and retries of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import msgspec

from penstock.engine.core import decide as decide_module
from penstock.engine.core import evolve as evolve_module
from penstock.engine.core.answers import accepted_reply, ignored
from penstock.engine.core.decision import TimeOutRun
from penstock.engine.core.machines import chain as chain_module
from penstock.engine.core.machines import deadline as deadline_module
from penstock.engine.core.machines import delay as delay_module
from penstock.engine.core.machines import note as note_module
from penstock.engine.core.machines import query as query_module
from penstock.engine.core.machines import run as run_module
from penstock.engine.core.machines import update as update_module
from penstock.engine.execution.handlers import Handlers
from penstock.engine.execution.program import Program
from penstock.engine.runtime import shard as shard_module
from penstock.engine.runtime import step as step_module
from penstock.engine.runtime.deduplicate import repetition
from penstock.engine.runtime.run_cache import CachedRun
from penstock.schemas.records.note import DetailsSet
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.run import StartWorkflow, WorkflowStarted
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.update import UpdateCompleted, UpdateWorkflow
from tests.simulation.mutation import Mutation

# Chains.


def _none_unread(self: Program) -> list[Any]:
    return []


def _twice_unread(self: Program, unread: Any = Program.unread) -> list[Any]:
    found = unread(self)
    return [*found, *(event for event in found if isinstance(event, SignalReceived))]


def _last_first(self: Program, unread: Any = Program.unread) -> list[Any]:
    return list(unread(self))[::-1]


def _an_orphan(*arguments: Any, next_run: Any = chain_module._next) -> Any:
    return msgspec.structs.replace(next_run(*arguments), parent_workflow_id="", parent_run_id="")


def _headless(*arguments: Any, next_run: Any = chain_module._next) -> Any:
    return msgspec.structs.replace(next_run(*arguments), headers={})


def _without_memo(*arguments: Any, next_run: Any = chain_module._next) -> Any:
    return msgspec.structs.replace(next_run(*arguments), memo=b"")


def _awaiters_left(run: Any, event: Any, cause: Any, started: Any = run_module._on_started) -> None:
    started(run, event, cause)
    if event.previous_run_id:
        run.header.awaiters = 0


# Updates.


def _taken_again(run: Any, row: Any, known: Any, command: Any) -> Any:
    return update_module._accepted(run, row, command, row.started_ms)


def _held_twice(self: Handlers, held_events: Any = Handlers.held_events) -> list[Any]:
    return [event for event in held_events(self) for _ in range(2)]


def _outcome_lost(run: Any, event: Any, cause: Any, ended: Any = update_module._on_ended) -> None:
    ended(run, msgspec.structs.replace(event, result=b"0"), cause)


def _as_at_first(run: Any, event: Any) -> Any:
    return event


# Queries.

_answer = Handlers.answer


def _former_answer(self: Handlers, name: str, value: bytes) -> bytes:
    answer = _answer(self, name, value)
    former = self.__dict__.setdefault("former", {})
    former.setdefault(name, answer)
    former[name], answer = answer, former[name]
    return answer


def _recorded_query(run: Any, command: Any, now_ms: int, query: Any = query_module._query) -> Any:
    return msgspec.structs.replace(query(run, command, now_ms), is_read=False)


def _changed_by_query(run: Any, command: Any, now_ms: int, query: Any = query_module._query) -> Any:
    with patch.object(CachedRun, "forget", lambda self: None):
        return query(run, command, now_ms)


def _changed_by_validator(run: Any, command: Any, now_ms: int, update: Any = update_module._update) -> Any:
    with patch.object(CachedRun, "forget", lambda self: None):
        return update(run, command, now_ms)


# Starts.


def _begun_at_once(*arguments: Any, started: Any = run_module._started, **options: Any) -> WorkflowStarted:
    return msgspec.structs.replace(started(*arguments, **options), begins_ms=0)


def _begun_late(run: Any, begins_ms: int, put: Any = delay_module.put) -> None:
    put(run, begins_ms + 1_000)


def _unawaited(*arguments: Any, started: Any = run_module._started, **options: Any) -> WorkflowStarted:
    return msgspec.structs.replace(started(*arguments, **options), reply_to=-1)


def _misdirected(command: Any, handed: Any = run_module._handed_signal) -> Any:
    return msgspec.structs.replace(handed(command), signal="sim_nothing")


def _renamed(command: Any, update_of: Any = run_module.update_of) -> Any:
    return msgspec.structs.replace(update_of(command), message_id=f"{command.message_id}-update")


def _answered_early(rows: Any, row: Any, command: Any) -> Any:
    if isinstance(command, StartWorkflow) and command.await_result and row is not None and row.first_run_id:
        reply = accepted_reply(command.workflow_id, row, command.message_id)
        return ignored(row.run_id, "this message took effect before", reply=reply)
    return repetition(rows, row, command)


# Time limits and retries of runs.


def _out_of_time_early(run: Any, event: Any, begins_ms: int, put: Any = deadline_module.put) -> None:
    put(run, event, begins_ms - 20)


def _never_out_of_time(run: Any, due: Any, now_ms: int) -> Any:
    return ignored(due.run_id, "it has time")


def _not_again(run: Any, decision: Any, now_ms: int) -> Any:
    return decision


def _again_at_once(*arguments: Any, delay_ms: Any = chain_module._delay_ms) -> int | None:
    return None if delay_ms(*arguments) is None else 0


def _again_and_again(run: Any, decision: Any, begun: Any, now_ms: int, delay_ms: Any = chain_module._delay_ms) -> Any:
    return delay_ms(run, decision, msgspec.structs.replace(begun, retries=0), now_ms)


def _time_anew(*arguments: Any, next_run: Any = chain_module._next) -> Any:
    following = next_run(*arguments)
    until_ms = following.execution_until_ms
    return msgspec.structs.replace(following, execution_until_ms=until_ms + 60_000 if until_ms else 0)


def _not_restarted(command: Any, row: Any, replaces: Any = run_module._replaces) -> bool:
    return command.on_existing != "restart_failed" and bool(replaces(command, row))


def _always_restarted(command: Any, row: Any, replaces: Any = run_module._replaces) -> bool:
    if command.on_existing == "restart_failed":
        command = msgspec.structs.replace(command, on_existing="restart_closed")
    return bool(replaces(command, row))


MUTATIONS: Mapping[str, Mutation] = {
    "signals that were not read are lost when a run continues": Mutation(Program, "unread", _none_unread),
    "signals that were not read go along twice": Mutation(Program, "unread", _twice_unread),
    "signals go along in another order": Mutation(Program, "unread", _last_first),
    "the parent of a run that continues is lost": Mutation(chain_module, "_next", _an_orphan),
    "headers do not go along when a run continues": Mutation(chain_module, "_next", _headless),
    "the memo does not go along when a run continues": Mutation(chain_module, "_next", _without_memo),
    "search attributes that code sets at last are lost when a run continues": Mutation(
        note_module, "search_of", lambda search, events: search
    ),
    "details are recorded and not stored": Mutation(
        note_module, "_on_details", lambda run, event, cause: None, table=(evolve_module.EVOLVERS, (DetailsSet,))
    ),
    "callers do not go along when a run continues": Mutation(
        run_module, "_on_started", _awaiters_left, table=(evolve_module.EVOLVERS, (WorkflowStarted,))
    ),
    "a repeated update begins again": Mutation(update_module, "_repeated", _taken_again),
    "the validator of an update is not asked": Mutation(Handlers, "_validate", lambda *arguments: None),
    "held updates are lost when a run continues": Mutation(Handlers, "held_events", lambda self: []),
    "held updates go along twice": Mutation(Handlers, "held_events", _held_twice),
    "a held update goes along without its present caller": Mutation(chain_module, "_as_awaited", _as_at_first),
    "an update is answered with another outcome": Mutation(
        update_module, "_on_ended", _outcome_lost, table=(evolve_module.EVOLVERS, (UpdateCompleted,))
    ),
    "updates of a run that closes are not answered": Mutation(update_module, "answer_dropped", lambda found, run: None),
    "what a rejecting validator changed stays": Mutation(
        update_module, "_update", _changed_by_validator, table=(decide_module.DECIDERS, (UpdateWorkflow,))
    ),
    "queries are answered with an older state": Mutation(Handlers, "answer", _former_answer),
    "queries are recorded": Mutation(
        query_module, "_query", _recorded_query, table=(decide_module.DECIDERS, (QueryWorkflow,))
    ),
    "what a query changed stays": Mutation(
        query_module, "_query", _changed_by_query, table=(decide_module.DECIDERS, (QueryWorkflow,))
    ),
    "a delayed start begins at once": Mutation(run_module, "_started", _begun_at_once),
    "a delayed start begins a second late": Mutation(delay_module, "put", _begun_late),
    "the signal of a start is lost": Mutation(run_module, "_received", lambda command: []),
    "the signal of a start that joins a run is lost": Mutation(run_module, "_handed_signal", _misdirected),
    "the update of a start has another id": Mutation(shard_module, "update_of", _renamed),
    "the sender of a start that awaits the result is forgotten": Mutation(run_module, "_started", _unawaited),
    "a repeated start is answered before its chain has ended": Mutation(step_module, "repetition", _answered_early),
    "runs are out of time early": Mutation(deadline_module, "put", _out_of_time_early),
    "runs are never out of time": Mutation(
        deadline_module, "time_out", _never_out_of_time, table=(decide_module.DECIDERS, (TimeOutRun,))
    ),
    "a run that failed is not tried again": Mutation(chain_module, "_retried", _not_again),
    "a run that failed is tried again at once": Mutation(chain_module, "_delay_ms", _again_at_once),
    "a run that fails is tried again without end": Mutation(chain_module, "_delay_ms", _again_and_again),
    "the time of a chain begins anew with each run": Mutation(chain_module, "_next", _time_anew),
    "a start does not restart a run that failed": Mutation(run_module, "_replaces", _not_restarted),
    "a start restarts a run that completed": Mutation(run_module, "_replaces", _always_restarted),
    "the history of a run that continued stays": Mutation(chain_module, "_drop_history", lambda run, cause: None),
}
