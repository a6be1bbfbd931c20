"""Scenarios of runs that go on in other runs, and of callers that talk to runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from random import Random

from penstock.schemas.records.run import AwaitResult, CancelWorkflow, TerminateWorkflow
from tests.simulation import scenarios
from tests.simulation.auditor import Auditor
from tests.simulation.scenarios import Move, Scenario, at_once, completed, judged, result, started


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

    talk = [*signals, *(_asked(random, name, "sim_seen") for _ in range(random.randint(0, 4)))]
    random.shuffle(talk)

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        if runs and runs[-1].status == "completed" and sorted(result(runs[-1])) != sorted(values):
            return f"{runs[-1]} read {result(runs[-1])} of {values}"
        return _chain_problem(auditor, name, -(-len(values) // batch), result(runs[-1]) if runs else None)

    return Scenario(name, [start, *talk], verdict)


def _steps(random: Random, name: str) -> Scenario:
    left = random.randint(0, 5)
    total = left * (left + 1) // 2
    if random.random() < 0.4:
        return Scenario(name, [Move(lambda client: client.start("sim_patron", name, left))], completed(name, total))
    moves = [Move(lambda client: client.start("sim_steps", name, left, 0))]
    if random.random() < 0.6:
        moves.append(Move(lambda client: client.ask(AwaitResult(workflow_id=name)), started(name)))
    return Scenario(name, moves, lambda auditor: _chain_problem(auditor, name, left + 1, total))


def _values(random: Random, count: int) -> list[int]:
    return [random.randrange(1_000_000) * random.choice((1, 1, 1, 1, -1)) for _ in range(count)]


def _repeated(random: Random, workflow_id: str, update: str, value: int) -> list[Move]:
    """An update, which a caller perhaps asks for again later, to wait for its end."""
    sent: list[str] = []
    moves = [
        Move(
            lambda client: sent.append(client.update(workflow_id, update, value)),
            at_once if random.random() < 0.1 else started(workflow_id),
        )
    ]
    if random.random() < 0.3:
        moves.append(Move(lambda client: client.ask_again(sent[0], wait_for="completed")))
    return moves


def _asked(random: Random, workflow_id: str, query: str) -> Move:
    return Move(
        lambda client: client.query(workflow_id, query), at_once if random.random() < 0.2 else started(workflow_id)
    )


def _account(random: Random, name: str) -> Scenario:
    notes = [random.randrange(1_000_000) for _ in range(random.randint(1, 4))]
    is_stopped = random.random() < 0.2

    def signal(value: int) -> Move:
        return Move(lambda client: client.signal(name, "sim_note", value, hopeless=is_stopped), started(name))

    talk = [[signal(note)] for note in notes]
    talk += [
        _repeated(random, name, random.choice(("sim_enter", "sim_buy")), value)
        for value in _values(random, random.randint(1, 4))
    ]
    status = "completed"
    if is_stopped:
        command = random.choice((CancelWorkflow, TerminateWorkflow))
        talk[0] = [Move(lambda client: client.ask(command(workflow_id=name, reason="enough")), started(name))]
        status = "cancelled" if command is CancelWorkflow else "terminated"
    names = ("sim_entries", "sim_entries", "sim_rash")
    talk += [[_asked(random, name, random.choice(names))] for _ in range(random.randint(0, 4))]
    random.shuffle(talk)
    moves = [Move(lambda client: client.start("sim_account", name, len(notes))), *chain.from_iterable(talk)]
    return Scenario(name, moves, judged(name, lambda run: "", status))


def _ledger(random: Random, name: str) -> Scenario:
    runs = random.randint(0, 2)
    talk = [_repeated(random, name, "sim_put", value) for value in _values(random, random.randint(1, 5))]
    talk.append([Move(lambda client: client.signal(name, "sim_go", "on"), started(name))])
    random.shuffle(talk)
    moves = [Move(lambda client: client.start("sim_ledger", name, runs)), *chain.from_iterable(talk)]

    def verdict(auditor: Auditor) -> str:
        found = auditor.runs.get(name, [])
        return _chain_problem(auditor, name, runs + 1, result(found[-1]) if found else None)

    return Scenario(name, moves, verdict)


KINDS: dict[str, Callable[[Random, str], Scenario]] = {
    "relay": _relay,
    "steps": _steps,
    "account": _account,
    "ledger": _ledger,
}
