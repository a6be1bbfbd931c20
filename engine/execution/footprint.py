"""Memory that a run's code takes: an estimate that costs nothing, and a measurement.

The estimate counts what waits, and the values that were delivered since the last measurement. Against the growth of the
process (docs/decisions/0018) it is 5 % too low to 24 % too high for runs without large values. JSON takes two to eleven
times its size as Python objects, so values of some kilobytes are measured before a run is evicted because of them (6 %
too low to 3 % too high). What code makes by itself, without an input, is not noticed until then.
"""

from __future__ import annotations

import gc
import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

import msgspec

PROGRAM_BYTES = 3_500
TASK_BYTES = 900
WAIT_BYTES = 1_500
DELIVERED_FACTOR = 10

MEASURED_BYTES_MIN = 8_000
"""Estimate of delivered values above which they are measured before an eviction."""

OBJECTS_MAX = 100_000
"""Objects that a measurement visits; with more, the rest counts as large as those on average."""

_UNKNOWN_BYTES = 64
_SHARED = (type, ModuleType, CodeType)


def measure(root: object, shared: set[int]) -> int:
    """Bytes of everything that `root` refers to, but for types, modules, code and the objects whose ids are given."""
    seen, waiting, size = set(shared), [root], 0
    while waiting and len(seen) < OBJECTS_MAX:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _SHARED):
            continue
        seen.add(id(found))
        size += _size_of(found)
        waiting.extend(_referents(found))
    return size if not waiting else size + len(waiting) * size // len(seen)


def _referents(found: object) -> list[Any] | tuple[Any, ...]:
    if isinstance(found, FunctionType):
        return found.__closure__ or ()  # its globals are those of a module
    if isinstance(found, msgspec.Struct):  # the collector may not know what it refers to
        return [getattr(found, name) for name in found.__struct_fields__]
    return gc.get_referents(found)


def _size_of(found: object) -> int:
    try:
        return sys.getsizeof(found)
    except Exception:  # noqa: BLE001 - a class of the user's may say anything
        return _UNKNOWN_BYTES
