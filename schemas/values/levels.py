"""Feature levels: which records and fields the programs of a namespace may write.

A program reads every record up to its own level. A namespace has a level too (topic `registry`), which is raised when
all of its programs know the next one. A record, or a new version of a record, is written only in a namespace of its
level, so that two builds may run side by side, and the older one again afterwards.

A class whose schema changes with level N has `SINCE: ClassVar[int] = N`; `make schemas` notes it in the schema.
"""

from __future__ import annotations

import msgspec

LEVEL = 1
"""The highest level that this program knows."""

FIRST_LEVEL = 1
"""Level of a namespace that was never raised, and of a schema without a level."""


def level_of(record: type[msgspec.Struct]) -> int:
    """The level from which on this version of the record is written."""
    return int(getattr(record, "SINCE", FIRST_LEVEL))
