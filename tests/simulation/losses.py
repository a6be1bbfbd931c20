"""Losses of acknowledged records: changelogs that vanish, end too early or are overwritten, and inputs that are gone.

What is left says something else than the group's offsets, or than a store. The shard must stay closed then, with a
sentence for the operator, who brings the records back from a backup; the other shards go on (process.py, world.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from tests.simulation.broker import COMMITTED, Broker, Entry, Partition, Transaction
from tests.simulation.disk import Disk
from tests.simulation.story import Violation

LOST_MAX = 3  # transactions


class Slot(Protocol):
    """A process and its disks."""

    disk: Disk
    old_disk: Disk | None


class Loss:
    """One shard's loss of records in `partition`, until `end`. `offset`: the group's, in that partition."""

    def __init__(self, broker: Broker, slots: Sequence[Slot], shard: int, offset: int, random: Random) -> None:
        self._broker, self._random, self.shard, self._offset = broker, random, shard, offset
        self._slots, self._is_foreign = slots, False
        self._shown: list[Entry] = []
        self.what = ""

    def begin(self, partition: Partition, kind: str) -> bool:
        """Lose records; returns whether there were any to lose."""
        self._partition, self._backup, self._first = partition, list(partition.entries), partition.first
        is_done = KINDS[kind](self)
        if is_done:
            where = f"{partition.where[0].rsplit('.', 1)[1]}[{self.shard}]"
            self.what = f"{where} {kind}: it ends at {len(partition.entries)}, not at {len(self._backup)}"
            self._damaged = len(partition.entries)
            self._lose_disks()
        return is_done

    @property
    def is_hidden(self) -> bool:
        """Whether others were written in the place of lost inputs: the topic's end no longer shows the loss."""
        is_of_inputs = self._partition.where[0].endswith("commands") and self._partition.first == self._first
        return is_of_inputs and len(self._partition.entries) > self._damaged

    def end(self) -> None:
        """Bring the records back, and what was written since behind them. Delete stores that read foreign ones."""
        added = self._partition.entries[self._damaged :]
        for entry in added:
            entry.offset += len(self._backup) - self._damaged
        self._partition.entries, self._partition.first = [*self._backup, *added], self._first
        for entry in self._shown:
            entry.gone = True
        if self._is_foreign:
            for disk in self._disks():
                disk.directories.pop(self.shard, None)

    # Kinds.

    def _vanish(self) -> bool:
        """The topic was deleted and created anew."""
        return bool(self._transactions()) and self._keep(0)

    def _cut(self) -> bool:
        """A replica that had missed the last transactions became the leader."""
        transactions = self._transactions()
        return bool(transactions) and self._keep(self._random.choice(transactions[-LOST_MAX:])[0].offset)

    def _overwrite(self) -> bool:
        """As `_cut`; and others were written there since."""
        transactions = self._transactions()
        if len(transactions) < 2:
            return False
        last = self._random.randint(max(1, len(transactions) - LOST_MAX), len(transactions) - 1)
        self._keep(transactions[last][0].offset)
        foreign = Transaction("another", 1)
        foreign.state = COMMITTED
        for _ in range(self._random.choice((1, 1, 3))):
            for entry in transactions[last - 1]:
                self._partition.append(entry.key, entry.value, entry.at_ms, foreign)
            self._partition.append(None, None, 0, foreign, control=True)
        self._partition.open.pop(foreign)
        self._is_foreign = True
        return True

    def _lose_inputs(self) -> bool:
        """Inputs that were processed are gone, and the topic ends before the group's offset."""
        return 0 < self._offset <= len(self._backup) and self._keep(self._offset - 1)

    def _trim_inputs(self) -> bool:
        """Inputs were deleted before they were processed."""
        unread = [entry.offset for entry in self._backup[self._offset :] if entry.is_committed]
        if not self._offset or not unread:
            return False
        self._partition.first = unread[-1] + 1
        return True

    def _keep(self, count: int) -> bool:
        """Keep that many entries. What compaction had dropped for the sake of those that are lost is there."""
        kept = self._backup[:count]
        latest = {entry.key: entry for entry in kept if entry.was_committed}
        self._shown = [entry for entry in latest.values() if entry.gone and entry.value is not None]
        for entry in self._shown:
            entry.gone = False
        self._partition.entries = kept
        return True

    def _transactions(self) -> list[list[Entry]]:
        """Records of the committed transactions in the partition, in the order of their beginnings."""
        found: dict[Transaction, list[Entry]] = {}
        for entry in self._backup:
            if entry.was_committed and entry.transaction is not None:
                found.setdefault(entry.transaction, []).append(entry)
        return list(found.values())

    def _lose_disks(self) -> None:
        """Perhaps lose stores of the shard as well."""
        for disk in self._disks():
            if self._random.random() < 0.5:
                disk.directories.pop(self.shard, None)

    def _disks(self) -> list[Disk]:
        return [disk for slot in self._slots for disk in (slot.disk, slot.old_disk) if disk is not None]


KINDS: Mapping[str, Callable[[Loss], bool]] = {
    "has vanished": Loss._vanish,
    "has lost its end": Loss._cut,
    "was overwritten": Loss._overwrite,
    "has lost inputs": Loss._lose_inputs,
    "was trimmed": Loss._trim_inputs,
}
OF_INPUTS = ("has lost inputs", "was trimmed")


def require_closed(loss: Loss | None, shards: set[int], what: str) -> None:
    """Raise Violation if a shard is used although its records are lost."""
    if loss is not None and loss.shard in shards:
        raise Violation("S (store)", f"{what} shard {loss.shard}, although {loss.what}")
