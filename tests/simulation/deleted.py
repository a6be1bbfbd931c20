"""Deletions in a simulation: scenarios of runs that operators delete, and perhaps import again, and their judgement.

Some seeds have them, by a chance of their own: the others go on as before. Starts are sent once, since a start that
arrives again after a deletion begins a run; deletions are repeated as all commands are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from penstock.engine.core.rows import unpack_message, unpack_run
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.retention import DeleteWorkflow, ImportWorkflow
from tests.simulation.auditor import Auditor
from tests.simulation.clients import Client
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
    deletions = len(moves) // 2
    last = random.choice(("nothing", "starts", "comes back", "comes back"))
    if last == "starts":
        moves.append(_start(name, "sim_chain", 2, deletions))
    if last == "comes back":
        moves.append(_import(name, deletions))

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        wrong = [f"{run} is {run.status}" for run in runs if not run.is_closed]
        if len(runs) != deletions + (last == "starts"):
            wrong.append(f"{name} had {len(runs)} runs, not {deletions + (last == 'starts')}")
        if runs and runs[-1].is_deleted != (last == "nothing"):
            wrong.append(f"{runs[-1]} {'is not there' if runs[-1].is_deleted else 'is there'} at the end")
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


def _import(name: str, deletions: int) -> Move:
    """The import of the last run that was deleted, as it was exported before."""
    last: list[Run] = []

    def ready(auditor: Auditor) -> bool:
        last[:] = auditor.runs.get(name, [])[-1:]
        return len(auditor.deletions.get(name, ())) == deletions

    def act(client: Client) -> None:
        (run,) = last
        records = tuple(map(encode, run.records))
        client.ask(ImportWorkflow(workflow_id=name, run_id=run.run_id, records=records, by="operator"))

    return Move(act, ready)


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
    """What is wrong with the rows of an id at the end, if its last run was deleted, or imported; empty for nothing."""
    run = runs[-1]
    if run.is_deleted:
        return left_of(run.workflow_id, rows)
    header = rows.get(b"R" + run.workflow_id.encode())
    if not run.is_imported or header is None:  # it has expired
        return ""
    row, prefix = unpack_run(header), b"H%b\x00%b\x00" % (run.workflow_id.encode(), run.run_id.encode())
    kept = [value for key, value in sorted(rows.items()) if key.startswith(prefix)]
    if kept != list(map(encode, run.records)) or (row.run_id, row.status) != (run.run_id, run.status):
        return f"{run} was imported, and is {row.status} with {len(kept)} of {len(run.records)} decisions"
    return ""


def _names(key: bytes, id: bytes) -> bool:
    return id in key[1:].split(b"\x00") or (key[:1] == b"Z" and key[13:].split(b"\x00")[0] == id)


def _remembers(key: bytes, value: bytes) -> bool:
    """Whether a row belongs to a command that is remembered beside the runs of its id."""
    if key[:1] == b"M":
        return unpack_message(value).run_id.startswith("day-")
    return key[:1] in (b"J", b"Z") and b"\x00day-" in key
