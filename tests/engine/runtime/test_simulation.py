"""Tests of the whole engine by simulation, and of the simulator: it notices each missing safeguard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.schemas.errors import Fenced
from penstock.topics.log import CommittedOffset, Record
from tests.simulation.broker import Broker, Group
from tests.simulation.mutants import FOUND, hunt
from tests.simulation.mutate import all_mutants, changed, choose
from tests.simulation.mutations import MUTATIONS, mutated
from tests.simulation.world import Failed, simulate

ROOT = Path(__file__).resolve().parents[3]
SEEDS, CHUNK = 200, 20
MUTATION_SEEDS_MAX = 250


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_seed_keeps_every_invariant(first: int) -> None:
    """Under the faults of any seed each invariant holds at every moment, and all runs end."""
    for seed in range(first, first + CHUNK):
        simulate(seed)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_missing_safeguard_is_noticed(name: str) -> None:
    """Without this safeguard, one of the first seeds violates an invariant."""
    with mutated(name), pytest.raises(Failed):
        for seed in range(MUTATION_SEEDS_MAX):
            simulate(seed, MUTATIONS[name].weather)


def test_a_generated_mutant_is_noticed() -> None:
    """A mutant that leaves the due time of a timer that has fired is found in a process of its own."""
    place = next(
        mutant
        for mutant in all_mutants()
        if mutant.path == "engine/core/machines/timer.py" and changed(mutant).before.startswith("run.drop_due(")
    )
    assert hunt(place, MUTATION_SEEDS_MAX).fate == FOUND


def test_mutants_are_chosen_by_a_seed() -> None:
    """One seed gives the same mutants each time, and each changes its place."""
    chosen = choose(seed=1, count=20)
    assert chosen == choose(seed=1, count=20)
    assert all(change.before != change.after for change in map(changed, chosen))


def test_a_violation_is_shown_with_its_story() -> None:
    """A failing seed prints its number, numbered lines of what happened where, and the violation in the last line."""
    with mutated("a task is sent twice"), pytest.raises(Failed) as caught:
        for seed in range(MUTATION_SEEDS_MAX):
            simulate(seed)
    heading, *lines = str(caught.value).splitlines()
    assert heading == f"seed {caught.value.world.seed}"
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert any("client" in line and "StartWorkflow" in line for line in lines)
    assert "VIOLATION of T (transaction)" in lines[-1]


def test_one_seed_gives_one_story() -> None:
    """The same seed gives the same story in another process with another hash seed."""
    stories = {_digests(hash_seed) for hash_seed in ("0", "77")}
    assert stories == {" ".join(simulate(seed).story.digest() for seed in (1, 2, 3))}


def _digests(hash_seed: str) -> str:
    program = (
        "from tests.simulation.world import simulate\n"
        "print(' '.join(simulate(seed).story.digest() for seed in (1, 2, 3)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout.strip()


# The simulated log behaves as Kafka where the engine relies on it.


@pytest.fixture
def broker() -> Broker:
    made = Broker(lambda: 0)
    made.create("t", 1)
    return made


def _values(broker: Broker) -> list[tuple[int, bytes | None]]:
    records, _ = broker.partition(("t", 0)).committed(0, 100)
    return [(record.offset, record.value) for record in records]


def _record(value: bytes) -> Record:
    return Record("t", 0, b"key", value)


def test_an_open_transaction_hides_all_records_behind_it(broker: Broker) -> None:
    """Committed reads stop before the first record of an open transaction, whichever producer wrote what follows."""
    epoch = broker.init("one")
    broker.append(_record(b"before"))
    broker.produce("one", epoch, [_record(b"inside")])
    broker.append(_record(b"after"))
    assert _values(broker) == [(0, b"before")]
    broker.commit("one", epoch)
    assert _values(broker) == [(0, b"before"), (1, b"inside"), (2, b"after")]


def test_aborted_and_control_records_take_offsets(broker: Broker) -> None:
    """Aborted records are skipped but keep their offsets, and each end of a transaction takes one as well."""
    epoch = broker.init("one")
    broker.produce("one", epoch, [_record(b"lost"), _record(b"lost")])
    broker.abort("one", epoch)
    assert broker.append(_record(b"next")).offset == 3
    assert _values(broker) == [(3, b"next")]


def test_a_newer_holder_of_the_id_fences_the_older(broker: Broker) -> None:
    """Recovering a transactional id aborts what its older holder left open and refuses all its later calls."""
    epoch = broker.init("one")
    broker.produce("one", epoch, [_record(b"lost")])
    broker.init("one")
    for step in (
        lambda: broker.produce("one", epoch, [_record(b"late")]),
        lambda: broker.commit("one", epoch),
        lambda: broker.abort("one", epoch),
    ):
        with pytest.raises(Fenced):
            step()
    assert _values(broker) == []


def test_an_older_generation_commits_no_offsets(broker: Broker) -> None:
    """Offsets are refused from a member of an older generation, and from one that was expelled."""
    group = broker.groups["g"] = Group(["t"], 1)
    group.join("a")
    epoch = broker.init("one")
    broker.add_offsets("one", epoch, group, "a", 1, {("t", 0): CommittedOffset(1)})
    group.join("b")
    group.rejoin("a")
    with pytest.raises(Fenced):
        broker.add_offsets("one", epoch, group, "a", 1, {("t", 0): CommittedOffset(2)})
    group.leave("a")
    with pytest.raises(Fenced):
        broker.add_offsets("one", epoch, group, "a", group.generation, {("t", 0): CommittedOffset(2)})
    broker.commit("one", epoch)
    assert group.offsets == {("t", 0): 1}
