"""CPU time and state of other processes, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process and all its threads have used (proc(5): fields 14 and 15 of stat)."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def total_cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU of these processes and of the children they have now."""
    return sum(map(cpu_s, _with_children(pids)))


def is_dead(pid: int) -> bool:
    """Whether a child process has ended and was not waited for yet (state Z)."""
    return _stat(pid)[0] == "Z"


def _with_children(pids: Iterable[int]) -> list[int]:
    """The processes and their children: a processor of several processes supervises them from a parent."""
    parents = list(pids)
    children = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in parents]
    return [*parents, *(int(child) for started in children for child in started)]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second may hold blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
