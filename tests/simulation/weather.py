"""Weather of a simulation: the kinds of faults and their probabilities, drawn by each seed (swarm testing)."""

from __future__ import annotations

from random import Random

from penstock.engine.runtime.run_cache import RUN_CACHE_BYTES
from tests.simulation.committer import AFTER, BEFORE, Fault

COMMIT_KINDS = ("crash", "half", "aborted", "unknown", "delayed", "abort_lost", "unavailable")
CHAOS_KINDS = (
    "kill", "freeze", "away", "coup", "expel", "stop", "skew", "topic", "compact", "time_out", "late_announcement",
    "refuse", "lose",
)  # fmt: skip
CHAOS_WEIGHTS = {"coup": 3}  # the others count once


class Weather:
    """Faults of one seed and their probabilities."""

    def __init__(self, random: Random) -> None:
        self.commit_fault = random.choice((0.0, 0.05, 0.15, 0.4))
        self.commit_kinds = [kind for kind in COMMIT_KINDS if random.random() < 0.6] or ["crash"]
        self.chaos = random.choice((0.0, 0.5, 1.5, 3.0))
        self.chaos_kinds = [kind for kind in CHAOS_KINDS if random.random() < 0.6] or ["kill"]
        self.unavailable = random.choice((0.0, 0.0, 0.01, 0.04))
        self.crash_in_call = random.choice((0.0, 0.0, 0.004, 0.01))
        self.pause = random.choice((0.0, 0.02, 0.06, 0.15))
        self.crash_at_store = random.choice((0.0, 0.0, 0.01, 0.05))
        self.disk_full = random.choice((0.0, 0.0, 0.01))
        self.disk_trouble = random.choice((0.0, 0.2, 0.5))
        self.deaf = random.choice((0.0, 0.3, 0.7))
        self.records_max = random.choice((2, 7, 2_000, 2_000))
        self.run_cache_bytes = random.choice((1, 30_000, RUN_CACHE_BYTES, RUN_CACHE_BYTES))
        self.audit_window = random.choice((3, 20, 100_000))
        self.turns = random.choice((150, 300, 600))
        self.processes = random.choice((1, 2, 2, 3, 3))
        self.days = random.choice((0.0,) * 6 + (0.1,))
        self.sends_late = random.random() < 0.5
        self.awaits_offsets = True
        self.requests_max = random.choice((1, 3, 5_000, 5_000))
        self.turn_records_max = random.choice((10, 60, 40_000, 40_000))
        self.transaction_records_max = random.choice((0, 0, 150, 400))
        self.timers_max = random.choice((1, 5, 1_000, 1_000))
        self.foreign_disk = random.choice((0.0, 0.0, 0.0, 0.1))
        self.cloned_disk = random.choice((0.0, 0.0, 0.0, 0.2))
        self.halts: float | None = None  # None: as the operator chooses
        self.skips: float | None = None
        self.changes: float | None = None
        self.resets: float | None = None
        self.versions: bool | None = None  # None: as the seed chooses
        self.history_max: int | None = None  # None: as the seed chooses
        self.deletes: bool | None = None
        self.builds = random.choice(("usual",) * 6 + ("next", "broken"))

    def __str__(self) -> str:
        chaos = f"{self.chaos}× {', '.join(self.chaos_kinds)}" if self.chaos else "none"
        commits = f"{self.commit_fault:.0%} {', '.join(self.commit_kinds)}" if self.commit_fault else "none"
        return (
            f"chaos: {chaos}; commit faults: {commits}; away {self.unavailable:.1%}, crashes {self.crash_in_call:.1%}, "
            f"pauses {self.pause:.1%} of calls; crashes at {self.crash_at_store:.1%} of store writes, disk full at "
            f"{self.disk_full:.1%}, disk changed at {self.disk_trouble:.0%} of starts; deaf polls {self.deaf:.0%}; "
            f"batches of {self.records_max}, {self.run_cache_bytes} bytes of runs in memory, "
            f"audit window {self.audit_window}, "
            f"activations of {self.requests_max} requests, turns of {self.turn_records_max} records "
            f"(aborted beyond {self.transaction_records_max}) and "
            f"{self.timers_max} timers; {self.builds} build; disks of another log at "
            f"{self.foreign_disk:.0%} of starts, of another process at {self.cloned_disk:.0%}"
            f"{'; days pass' if self.days else ''}"
        )

    def clear_up(self) -> None:
        """End all faults."""
        self.commit_fault = self.chaos = self.unavailable = self.crash_in_call = self.pause = 0.0
        self.crash_at_store = self.disk_full = self.disk_trouble = self.deaf = 0.0
        self.foreign_disk = self.cloned_disk = 0.0

    def plan_commit(self, random: Random) -> Fault | None:
        """The fault of a transaction; None for none."""
        if random.random() >= self.commit_fault:
            return None
        kind = random.choice(self.commit_kinds)
        match kind:
            case "crash":
                return Fault(
                    kind, random.choice(("begin", "produce", "offsets", "commit")), random.choice((BEFORE, AFTER))
                )
            case "unknown":
                return Fault(kind, "commit", random.choice((BEFORE, AFTER)))
            case "delayed":
                return Fault(kind, "commit", BEFORE)
            case "half":
                return Fault(kind)
        return Fault(kind, random.choice(("produce", "offsets", "commit")), BEFORE)
