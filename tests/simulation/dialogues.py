"""Scenarios of runs that go on in other runs, and of callers that talk to runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, pairwise
from random import Random
from typing import Any

import msgspec

from penstock.schemas.records.run import AwaitResult, CancelWorkflow, TerminateWorkflow
from penstock.schemas.values.retry import RetryPolicy
from tests.simulation import scenarios
from tests.simulation.auditor import Auditor
from tests.simulation.clients import REPLIES
from tests.simulation.retention import KEPT_MS
from tests.simulation.scenarios import Move, Scenario, at_once, closed, completed, judged, result, started
from tests.simulation.scheduled import scheduled
from tests.simulation.truth import Run


def make(random: Random, number: int) -> Scenario:
    """A scenario of a random kind."""
    kinds = scenarios.KINDS | KINDS | {"scheduled": scheduled}
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
    sent: list[str] = []
    awaits = random.random() < 0.5
    start = Move(
        lambda client: sent.append(client.start("sim_relay", name, batch, len(values), [], await_result=awaits))
    )
    again = Move(lambda client: client.ask_again(sent[0]), lambda auditor: len(auditor.runs.get(name, ())) > 1)
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

    if len(values) > batch:  # the chain is open until the other signals have come
        talk.insert(talk.index([move for move in talk if move in signals][batch - 1]) + 1, again)
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
    """An update, which its caller and others perhaps ask for again, to wait for its acceptance or its end."""
    sent: list[str] = []
    moves = [
        Move(
            lambda client: sent.append(client.update(workflow_id, update, value)),
            at_once if random.random() < 0.1 else started(workflow_id),
        )
    ]
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        again = {
            "wait_for": random.choice(("accepted", "completed", "completed")),
            "reply_to": random.randrange(REPLIES),
        }
        moves.append(Move(lambda client, again=again: client.ask_again(sent[0], **again)))
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
    return Scenario(name, moves, judged(name, lambda run: "", status), resettable=[] if is_stopped else [name])


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


def _visited(random: Random, name: str) -> Scenario:
    """Signals, each of which starts the run if there is none."""
    values = [random.randrange(1_000_000) for _ in range(random.randint(1, 4))]

    def signal(value: int) -> Move:
        handed: dict[str, Any] = {"signal": "sim_note", "handed": msgspec.json.encode(value)}
        options = handed | {"on_existing": "restart_closed"}
        return Move(lambda client: client.start("sim_account", name, len(values), **options))

    def judge(run: Run) -> str:
        return "" if sorted(result(run)) == sorted(values) else f"has {result(run)} of {values}"

    return Scenario(name, [signal(value) for value in values], judged(name, judge))


def _opened(random: Random, name: str) -> Scenario:
    """Updates, each of which starts the run if the id has none, and a signal that ends it."""

    def update(value: int) -> Move:
        options: dict[str, Any] = {
            "update": random.choice(("sim_enter", "sim_buy")),
            "await_result": random.random() < 0.7,
        }
        options["handed"] = msgspec.json.encode(value)
        return Move(lambda client: client.start("sim_account", name, 1, hopeless=True, **options))

    moves = [update(value) for value in _values(random, random.randint(1, 3))]
    moves.insert(random.randint(1, len(moves)), Move(lambda client: client.signal(name, "sim_note", 7), started(name)))
    return Scenario(name, moves, judged(name, lambda run: ""))


def _delayed(random: Random, name: str) -> Scenario:
    """Starts with a delay; signals, updates and a cancellation may come before the code begins."""
    delay_ms = random.choice((1, 300, 20_000, 3_600_000))
    count = random.randint(1, 3)
    kind = random.choice(("chain", "account", "relay", "cancelled"))
    note = "sim_note" if kind == "account" else "sim_tick"
    arguments = {"account": ("sim_account", count), "relay": ("sim_relay", 2, count, [])}.get(
        kind, ("sim_chain", count)
    )
    moves = [Move(lambda client: client.start(arguments[0], name, *arguments[1:], start_delay_ms=delay_ms))]
    if kind in ("account", "relay"):
        moves += [Move(lambda client: client.signal(name, note, 5), started(name)) for _ in range(count)]
    if kind == "account":
        moves.insert(1, Move(lambda client: client.update(name, "sim_enter", 6), started(name)))
    if kind == "cancelled":
        moves.append(Move(lambda client: client.ask(CancelWorkflow(workflow_id=name, reason="no")), started(name)))
    if kind == "relay":
        return Scenario(name, moves, lambda auditor: _chain_problem(auditor, name, -(-count // 2), [5] * count))
    return Scenario(
        name, moves, judged(name, lambda run: "", "cancelled|completed" if kind == "cancelled" else "completed")
    )


def _executed(random: Random, name: str) -> Scenario:
    """Starts whose sender awaits the result."""
    left = random.randint(0, 3)
    total = left * (left + 1) // 2
    if random.random() < 0.5:
        moves = [Move(lambda client: client.start("sim_steps", name, left, 0, await_result=True))]
        return Scenario(name, moves, lambda auditor: _chain_problem(auditor, name, left + 1, total))
    moves = [Move(lambda client: client.start("sim_chain", name, left + 1, await_result=True))]
    return Scenario(name, moves, completed(name, total))


RETRIES = RetryPolicy(retries_max=2, delays_ms=(200, 3_000), factor=1.0)


def _limited(random: Random, name: str) -> Scenario:
    """Runs whose time, or whose chain's time, is bounded; the run sleeps, takes updates, or is tried again."""
    bound = random.choice(("run_timeout_ms", "execution_timeout_ms"))
    options: dict[str, Any] = {bound: random.choice((50, 1_000, 30_000))}
    kind = random.choice(("sleeper", "account", "again"))
    if kind == "again":
        options = {"run_timeout_ms": random.choice((50, 1_000)), "retry": RETRIES}
        options["execution_timeout_ms"] = random.choice((100, 3_600_000))
    if random.random() < 0.3:
        options |= {"await_result": True}
    nap_ms = random.choice((10, 20_000, 300_000))
    code, given = ("sim_account", 9) if kind == "account" else ("sim_sleeper", nap_ms)
    moves = [Move(lambda client: client.start(code, name, given, **options))]
    # A sleeper has no handler: it holds updates to its end.
    update = "sim_buy" if kind == "account" else "sim_put"
    moves += chain.from_iterable(_repeated(random, name, update, value) for value in _values(random, 3))

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        statuses = [run.status for run in runs]
        most = 1 if kind != "again" else RETRIES.retries_max + 1
        is_right = 1 <= len(runs) <= most and statuses[:-1] == ["failed"] * (len(runs) - 1)
        return "" if is_right and statuses[-1] in ("failed", "completed") else f"{name} had the runs {statuses}"

    return Scenario(name, moves, verdict)


def _stubborn(random: Random, name: str) -> Scenario:
    """Runs that fail and are tried again, so often."""
    failures = random.randint(0, 4)
    options: dict[str, Any] = {"retry": RETRIES, "await_result": random.random() < 0.4}
    if random.random() < 0.3:
        options["start_delay_ms"] = 500
    move = Move(lambda client: client.start("sim_stubborn", name, failures, **options))
    length = min(failures, RETRIES.retries_max) + 1
    end = "completed" if failures < length else "failed"

    def verdict(auditor: Auditor) -> str:
        statuses = [run.status for run in auditor.runs.get(name, [])]
        expected = ["failed"] * (length - 1) + [end]
        return "" if statuses == expected else f"{name} had the runs {statuses}, not {expected}"

    return Scenario(name, [move], verdict)


def _restarted(random: Random, name: str) -> Scenario:
    """Starts that take the place of a run that failed, and join one that completed."""
    code, given = random.choice((("sim_stubborn", 1), ("sim_chain", 2)))
    times = random.randint(1, 2)
    again = Move(lambda client: client.start(code, name, given, on_existing="restart_failed"), closed(name))

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        statuses = [run.status for run in runs]
        # A start that meets the run which another one has just started joins it; one that expired is started anew.
        least, end = (2, "failed") if code == "sim_stubborn" else (1, "completed")
        is_right = least <= len(statuses) <= times + 1 and set(statuses) == {end}
        if end == "completed":
            is_right &= all(after.timed[0][0] - run.timed[-1][0] >= KEPT_MS for run, after in pairwise(runs))
        return "" if is_right else f"{name} had the runs {statuses}"

    return Scenario(name, [Move(lambda client: client.start(code, name, given)), *[again] * times], verdict)


def _described(random: Random, name: str) -> Scenario:
    """Runs of a chain that set details and search attributes."""
    left = random.randint(0, 2)

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        return _chain_problem(auditor, name, left + 1, result(runs[-1]) if runs else None)

    return Scenario(name, [Move(lambda client: client.start("sim_described", name, left))], verdict)


KINDS: dict[str, Callable[[Random, str], Scenario]] = {
    "relay": _relay,
    "steps": _steps,
    "account": _account,
    "ledger": _ledger,
    "visited": _visited,
    "opened": _opened,
    "delayed": _delayed,
    "executed": _executed,
    "limited": _limited,
    "stubborn": _stubborn,
    "restarted": _restarted,
    "described": _described,
}
