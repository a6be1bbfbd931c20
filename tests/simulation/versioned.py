"""Versions in a simulation: processes that host different ones, and scenarios of starts, shares and schedules.

Some seeds have them, by a chance of their own: the others go on as before. versions.py judges what they did."""

from __future__ import annotations

from random import Random

import msgspec

from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.records.schedule import CreateSchedule
from penstock.schemas.records.share import UNSET, SetVersionShare
from penstock.schemas.values.schedule_spec import ScheduleSpec
from tests.simulation.auditor import Auditor
from tests.simulation.builds import HOSTING, Build
from tests.simulation.clients import Client
from tests.simulation.scenarios import Move, Scenario
from tests.simulation.scheduled import problems
from tests.simulation.versions import NAME
from tests.simulation.weather import Weather

SHARES = (0, 2_000, 5_000, 5_000, 10_000, UNSET)


class Versioned:
    """Whether a seed has versions, and what they do there. `is_on`: it has."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self._random = Random(f"versions-{seed}")
        wanted = self._random.random() < 0.2 if weather.versions is None else weather.versions
        self.is_on = wanted and weather.builds == "usual"

    def build(self) -> Build:
        """The build with which a process starts: it hosts some of the versions."""
        return self._random.choice(HOSTING)

    def scenarios(self) -> list[Scenario]:
        """Scenarios to add to those of the seed."""
        return [_versioned(self._random, "versioned-0")] if self.is_on else []


def _versioned(random: Random, name: str) -> Scenario:
    """Starts under changing shares: without a version, with one, by a schedule, and by runs that continue."""
    ids = [f"{name}.{n}" for n in range(random.randint(3, 8))]
    moves = [_start(id, random.choice((0, 0, 1, 2)), random.choice((0, 0, 1, 2, 3))) for id in ids]
    moves += [_share(random.choice((2, 3)), random.choice(SHARES)) for _ in range(random.randint(1, 5))]
    moves += [_start(f"{name}.named", 0, 0, version=random.choice((1, 2, 3)))]
    schedule_id = f"schedule:{name}"
    spec = ScheduleSpec(every_ms=2_000, overlap="allow_all", remaining=random.randint(1, 3))
    create = CreateSchedule(workflow_id=schedule_id, workflow_type=NAME, input=_input(0, 0), spec=spec)
    moves.append(Move(lambda client: client.ask(create, hopeless=True)))
    random.shuffle(moves)

    def verdict(auditor: Auditor) -> str:
        missing = [id for id in ids if id not in auditor.runs]
        found = [f"{missing} never started"] if missing else []
        return " and ".join([*found, *problems(auditor, schedule_id)])

    return Scenario(schedule_id, moves, verdict)


def _input(left: int, to: int) -> bytes:
    return msgspec.json.encode({"left": left, "to": to})


def _start(workflow_id: str, left: int, to: int, version: int = 0) -> Move:
    """A start; one that names a version may be refused by a process that does not host it."""
    command = StartWorkflow(workflow_id=workflow_id, workflow_type=NAME, input=_input(left, to), version=version)
    return Move(lambda client: client.ask(command, hopeless=version > 0))


def _share(version: int, share: int) -> Move:
    """A share that is set on every shard, each time by a command of its own."""

    def act(client: Client) -> None:
        for shard in range(client.shards):
            client.ask(SetVersionShare(workflow_type=NAME, version=version, share=share), partition=shard)

    return Move(act)
