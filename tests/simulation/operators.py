"""Simulated operators: at any moment they pause and resume runs, give activities their results or let them begin at
once, and reset runs; and they unblock runs that need one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from penstock.engine.core.activation import KILLS_PROCESSOR, RUNS_ON
from penstock.schemas.records.activity import ChangeActivity, SkipActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.run import UnblockWorkflow
from tests.simulation.clients import Client
from tests.simulation.model import ANY, FAILED, outcome_by_hand
from tests.simulation.truth import Run
from tests.simulation.weather import Weather

RESETS_MAX = 3
"""Of one workflow id."""

NOT_SKIPPED = frozenset(
    f"sim_{kind}"
    for kind in ("trip", "parallel_trip", "oracle", "ledger", "relay", "steps", "stubborn", "described", "versioned")
)
"""Types of which another run of the chain may have another activity under the number, whose result would be wrong."""

HURRIED = frozenset({"sim_retrying"})
"""Types whose result is the same if an attempt more or less was made."""

Runs = Mapping[str, Sequence[Run]]


class Operator:
    """Chances of its own decide what it does, so that seeds without it are what they were.

    `weather` has the probability of each in a turn, None for one that the seed chooses. `resettable`: ids of the runs
    that may be reset."""

    def __init__(self, seed: int, weather: Weather, resettable: Sequence[str]) -> None:
        self._chance = Random(f"operator {seed}")
        pauses, skips, resets = weather.halts, weather.skips, weather.resets
        chosen = self._chance.choice((0.0, 0.0, 0.02, 0.1))
        self._pauses = chosen if pauses is None else pauses
        chosen = self._chance.choice((0.0, 0.01, 0.05))
        self._skips = chosen if skips is None else skips
        chosen = self._chance.choice((0.0, 0.02, 0.1)) if not weather.days else 0.0
        self._resets = chosen if resets is None else resets
        self._resettable, self._times, self._skipped = resettable, Counter[str](), set[str]()
        self._asked: dict[str, int] = {}
        self._hurry = Random(f"hurry {seed}")  # of its own, so that the others' choices are what they were
        self._changes = self._hurry.choice((0.0, 0.05, 0.2)) if weather.changes is None else weather.changes

    def act(self, client: Client, runs: Runs) -> None:
        """Perhaps pause a run that is open, or resume one that is paused; perhaps skip an activity, or reset a run."""
        latest = [chain[-1] for chain in runs.values() if not chain[-1].is_closed]
        if latest and self._chance.random() < self._pauses:
            run = self._chance.choice(latest)
            kind = ResumeWorkflow if run.status == "paused" else PauseWorkflow
            client.ask(kind(workflow_id=run.workflow_id, by="operator"), hopeless=True)
        if latest and self._chance.random() < self._skips:
            self._skip(client, self._chance.choice(latest))
        if latest and self._hurry.random() < self._changes:
            self._begin_at_once(client, latest)
        if self._chance.random() < self._resets:
            self._reset(client, [runs[name][-1] for name in self._resettable if name in runs])

    def _begin_at_once(self, client: Client, latest: Sequence[Run]) -> None:
        """Let the next attempt of an activity begin that waits for its time."""
        waiting = [
            (run, sequence)
            for run in latest
            for sequence, found in run.activities.items()
            if found.state == "waiting" and run.workflow_type in HURRIED
        ]
        if waiting:
            run, sequence = self._hurry.choice(waiting)
            fields = {"workflow_id": run.workflow_id, "run_id": run.run_id, "sequence": sequence}
            client.ask(ChangeActivity(**fields, now=True, by=f"operator-{sequence}", reason="now"), hopeless=True)

    def _skip(self, client: Client, run: Run) -> None:
        """Give an activity that is open the result that its last attempt would return; one that would fail is left."""
        pending = [(number, found) for number, found in run.activities.items() if found.state in ("open", "waiting")]
        if not pending or run.workflow_type in NOT_SKIPPED or self._times[run.workflow_id]:
            return
        self._skipped.add(run.workflow_id)  # not reset either: another run of its id may number its requests otherwise
        sequence, activity = self._chance.choice(pending)
        result = outcome_by_hand(activity.name, activity.input)
        if result == FAILED:
            return
        command = SkipActivity(
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            sequence=sequence,
            result=msgspec.json.encode(f"{sequence} by hand" if result == ANY else result),
            by=f"operator-{sequence}",
            reason=f"no worker for {activity.name}",
        )
        client.ask(command, hopeless=True)

    def _reset(self, client: Client, latest: Sequence[Run]) -> None:
        """Reset a run, open or closed, to some event of its history, perhaps one that it does not have any more."""
        found = [run for run in latest if self._times[run.workflow_id] < RESETS_MAX]
        found = [run for run in found if run.workflow_id not in self._skipped]
        if not found:
            return
        waiting = [run for run in found if run.children]  # there are few of them
        run = self._chance.choice(waiting if waiting and self._chance.random() < 0.5 else found)
        self._times[run.workflow_id] += 1
        length = len(run.events)
        command = ResetWorkflow(
            workflow_id=run.workflow_id,
            to_event=self._chance.randint(self._chance.choice((0, length // 2, length - 1)), length),
            by=f"operator-{self._times[run.workflow_id]}",
            reason=f"{run.status} wrongly",
        )
        client.ask(command, hopeless=True)

    def help(self, client: Client, runs: Runs) -> bool:
        """Resume what is paused, and unblock runs that were BLOCKED because processors died over them, or because they
        ran on; the build that all processes have by now does neither. Returns whether there was one."""
        for workflow_id, chain in runs.items():
            run = chain[-1]
            needs_help = run.status == "paused" or run.blocked_reason in (KILLS_PROCESSOR, RUNS_ON)
            if needs_help and self._asked.get(run.run_id) != len(run.events):
                self._asked[run.run_id] = len(run.events)
                kind = ResumeWorkflow if run.status == "paused" else UnblockWorkflow
                client.ask(kind(workflow_id=workflow_id), hopeless=True)
                return True
        return False
