"""Scenarios of runs that go on in other runs, and of callers that talk to runs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from penstock.schemas.records.run import AwaitResult
from tests.simulation import scenarios
from tests.simulation.auditor import Auditor
from tests.simulation.scenarios import Move, Scenario, completed, result, started


def make(random: Random, number: int) -> Scenario:
    """A scenario of a random kind."""
    kinds = scenarios.KINDS | KINDS
    kind = random.choice(list(kinds))
    return kinds[kind](random, f"{kind}-{number}")


def _chain_problem(auditor: Auditor, workflow_id: str, length: int, expected: object) -> str:
    """What is wrong with an id that must have one chain of so many runs, with that result."""
    runs = auditor.runs.get(workflow_id, [])
    statuses = [run.status for run in runs]
    if statuses != ["continued"] * (length - 1) + ["completed"]:
        return f"{workflow_id} had the runs {statuses}, not {length} of one chain"
    value = result(runs[-1])
    return "" if value == expected else f"{runs[-1]} gave {value}, not {expected}"


def _relay(random: Random, name: str) -> Scenario:
    values = [random.randrange(1_000_000) for _ in range(random.randint(1, 7))]
    batch = random.randint(1, 3)
    start = Move(lambda client: client.start("sim_relay", name, batch, len(values), []))
    signals = [
        Move(lambda client, value=value: client.signal(name, "sim_tick", value), started(name)) for value in values
    ]

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        if runs and runs[-1].status == "completed" and sorted(result(runs[-1])) != sorted(values):
            return f"{runs[-1]} read {result(runs[-1])} of {values}"
        return _chain_problem(auditor, name, -(-len(values) // batch), result(runs[-1]) if runs else None)

    return Scenario(name, [start, *signals], verdict)


def _steps(random: Random, name: str) -> Scenario:
    left = random.randint(0, 5)
    total = left * (left + 1) // 2
    if random.random() < 0.4:
        return Scenario(name, [Move(lambda client: client.start("sim_patron", name, left))], completed(name, total))
    moves = [Move(lambda client: client.start("sim_steps", name, left, 0))]
    if random.random() < 0.6:
        moves.append(Move(lambda client: client.ask(AwaitResult(workflow_id=name)), started(name)))
    return Scenario(name, moves, lambda auditor: _chain_problem(auditor, name, left + 1, total))


KINDS: dict[str, Callable[[Random, str], Scenario]] = {"relay": _relay, "steps": _steps}
