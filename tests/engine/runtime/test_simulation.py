"""Are the promises kept whatever happens, and would the simulator notice if they were not?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS, mutated
from tests.simulation.world import Failed, simulate

ROOT = Path(__file__).resolve().parents[3]
SEEDS, CHUNK = 200, 20
MUTATION_SEEDS_MAX = 100


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_seed_keeps_every_promise(first: int) -> None:
    """Whatever one seed breaks, each invariant holds all the while and everything comes to its end."""
    for seed in range(first, first + CHUNK):
        simulate(seed)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_missing_safeguard_is_noticed(name: str) -> None:
    """With this one safeguard taken away, some of the first seeds breaks a promise."""
    with mutated(name), pytest.raises(Failed):
        for seed in range(MUTATION_SEEDS_MAX):
            simulate(seed, MUTATIONS[name].weather)


def test_one_seed_tells_one_story() -> None:
    """The same seed gives the same story in another process with another hash seed."""
    stories = {_digest(hash_seed) for hash_seed in ("0", "77")}
    assert stories == {" ".join(simulate(seed).story.digest() for seed in (1, 2, 3))}


def _digest(hash_seed: str) -> str:
    program = (
        "from tests.simulation.world import simulate\n"
        "print(' '.join(simulate(seed).story.digest() for seed in (1, 2, 3)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()
