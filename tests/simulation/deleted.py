"""Deletions in a simulation: scenarios of closed and open runs that operators delete, and what is judged of them.

Some seeds have them, by a chance of their own: the others go on as before. Starts are sent once, since a start that
arrives again after a deletion begins a run; deletions are repeated as all commands are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from penstock.engine.core.rows import unpack_message
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.retention import DeleteWorkflow
from tests.simulation.auditor import Auditor
from tests.simulation.scenarios import Move, Ready, Scenario, closed, started
from tests.simulation.truth import Run
from tests.simulation.weather import Weather

CHANCE = 0.2


class Deleted:
    """Whether a seed has deletions, and its scenarios; the auditor judges them by `judge`."""

    def __init__(self, seed: int, weather: Weather, auditor: Auditor) -> None:
        auditor.judge_deletion = judge
        self._random = Random(f"deletions-{seed}")
        wanted = self._random.random() < CHANCE if weather.deletes is None else weather.deletes
        self.is_on = wanted and weather.builds == "usual"

    def scenarios(self) -> list[Scenario]:
        """Scenarios to add to those of the seed."""
        return [_deleted(self._random, f"deleted-{n}") for n in range(3)] if self.is_on else []


def _deleted(random: Random, name: str) -> Scenario:
    """Runs of one id, each of which starts when the one before was deleted; the last one may stay."""
    moves: list[Move] = []
    for number in range(random.randint(1, 3)):
        force = random.random() < 0.3
        moves.append(_start(name, "sim_sleeper" if force else "sim_chain", 300_000 if force else 2, number))
        moves.append(_delete(name, force=force, ready=started(name) if force else closed(name)))
    if random.random() < 0.5:
        moves.append(_start(name, "sim_chain", 2, len(moves) // 2))

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        wrong = [f"{run} is {run.status}" for run in runs if not run.is_closed]
        if len(runs) != (len(moves) + 1) // 2:
            wrong.append(f"{name} had {len(runs)} runs, not {(len(moves) + 1) // 2}")
        return " and ".join(wrong)

    return Scenario(name, moves, verdict)


def _start(name: str, workflow_type: str, argument: int, deletions: int) -> Move:
    return Move(
        lambda client: client.start(workflow_type, name, argument, once=True),
        lambda auditor: len(auditor.deletions.get(name, ())) == deletions,
    )


def _delete(name: str, *, force: bool, ready: Ready) -> Move:
    """A deletion of the run that has just begun, or closed; one that is deleted is no longer there."""
    command = DeleteWorkflow(workflow_id=name, force=force, by="operator", reason="unwanted")

    def is_there(auditor: Auditor) -> bool:
        run = auditor.present(name)
        return ready(auditor) and run is not None and not run.is_deleted

    return Move(lambda client: client.ask(command), is_there)


def judge(
    decision: DecisionRecorded, writes: Iterable[bytes], rows: Mapping[bytes, bytes], deletions: Iterable[str]
) -> str:
    """What is wrong with a deletion; empty for nothing. `writes`: keys that it changed; `rows`: as it left them;
    `deletions`: messages that deleted runs of the id before."""
    id = decision.workflow_id
    message_id = decision.trigger.message_id
    if message_id in deletions:
        return f"the message {message_id} deleted runs of {id} twice"
    strange = [key for key in writes if id.encode() not in key]
    return f"the deletion of {id} changed {strange[:3]}" if strange else left_of(id, rows)


def left_of(id: str, rows: Mapping[bytes, bytes]) -> str:
    """What is left of a deleted id beside the commands that deleted it; empty for nothing."""
    left = [key for key, value in rows.items() if _names(key, id.encode()) and not _remembers(key, value)]
    return f"{id} was deleted, and has the rows {left[:3]}" if left else ""


def judge_end(runs: list[Run], rows: Mapping[bytes, bytes]) -> str:
    """What is wrong with the rows of an id at the end, if its last run was deleted; empty for nothing."""
    return left_of(runs[-1].workflow_id, rows) if runs[-1].is_deleted else ""


def _names(key: bytes, id: bytes) -> bool:
    return id in key[1:].split(b"\x00") or (key[:1] == b"Z" and key[13:].split(b"\x00")[0] == id)


def _remembers(key: bytes, value: bytes) -> bool:
    """Whether a row belongs to a command that is remembered beside the runs of its id."""
    if key[:1] == b"M":
        return unpack_message(value).run_id.startswith("day-")
    return key[:1] in (b"J", b"Z") and b"\x00day-" in key
