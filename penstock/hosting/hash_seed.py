"""Hash seed of this process: workflow code that iterates over a set must take the same path on replay."""

from __future__ import annotations

import os
import sys

from penstock.hosting import interrupts

HASH_SEED = "PYTHONHASHSEED"
HASH_SEED_WARNING = (
    "PYTHONHASHSEED is not 0: workflow code that iterates over sets may order its requests differently after a "
    "restart; set PYTHONHASHSEED=0 for this program"
)


def hash_seed_is_fixed() -> bool:
    """Return whether the environment sets PYTHONHASHSEED to 0, as all processors must."""
    return os.environ.get(HASH_SEED) == "0" and not sys.flags.ignore_environment  # `python -I` ignores it


def with_fixed_hash_seed() -> None:
    """Restart this command with PYTHONHASHSEED=0 unless it is set already."""
    if os.environ.get(HASH_SEED) == "0":
        return
    environment = {**os.environ, HASH_SEED: "0"}
    sys.stdout.flush()
    sys.stderr.flush()
    interrupts.block()  # until the new process handles them
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - ourselves
    finally:  # the program could not be executed
        interrupts.unblock()
