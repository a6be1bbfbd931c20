"""Messages that took effect, so that each takes effect once. They are kept as long as the run in which they did.

A row also says what the message was: senders choose ids, and another message under a known id must not be answered as
if it had taken effect."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import msgspec

from penstock.engine.core.keys import DAY_MS, closed_key, joined_key, message_key
from penstock.engine.core.machine import Cause
from penstock.engine.core.rows import MessageRow, pack, unpack_message
from penstock.engine.core.working import WorkingRun

START, SIGNAL, UPDATE = "start", "signal", "update"
CANCEL, TERMINATE = "cancellation", "termination"
UNBLOCK, PAUSE, RESUME, SKIP, RESET = "unblocking", "pause", "resuming", "skip", "reset"
DELETE, IMPORT = "deletion", "import"
OPTIONS = "change of an activity"
"""What a message was."""


def remember(run: WorkingRun, message_id: str, what: str, content: str = "") -> None:
    """Record that the id's current run processed a message, so that a repetition is recognised. For evolve functions.

    `content`: digest of its name and value, for a message whose sender chooses the id."""
    if message_id:
        row = run.header
        remember_as(run, message_id, MessageRow(row.run_id, row.first_run_id or row.run_id, what, content))


def remember_cause(run: WorkingRun, cause: Cause, what: str) -> None:
    """As `remember`, of the message behind an event."""
    remember(run, cause.message_id, what)


def remember_as(run: WorkingRun, message_id: str, row: MessageRow) -> None:
    """Record a message as processed by any run of the workflow id. For evolve functions."""
    run.writes[message_key(run.workflow_id, message_id)] = pack(row)


BESIDE_RUNS = frozenset({DELETE, IMPORT})
"""Messages that are remembered beside the runs of their id, and stay when those are deleted."""


def remember_change(run: WorkingRun, cause: Cause, what: str) -> None:
    """Record a command to what has no runs, for as long as a run is kept that closes now: expiry finds it by its day.
    For evolve functions."""
    if not cause.message_id:
        return
    at_ms = max(cause.now_ms, cause.appended_ms)
    day = f"day-{at_ms // DAY_MS}"
    remember_as(run, cause.message_id, MessageRow(day, day, what))
    run.writes[joined_key(run.workflow_id, day, cause.message_id)] = b""
    run.writes[closed_key(0, at_ms, run.workflow_id, day)] = b""


def run_of_message(get: Callable[[bytes], bytes | None], workflow_id: str, message_id: str) -> MessageRow | None:
    """What is known of a message that took effect; None if it did not, or its run is no longer kept."""
    found = get(message_key(workflow_id, message_id))
    return unpack_message(found) if found is not None else None


def content_of(name: str, value: bytes) -> str:
    """Digest of a name and a value (16 hexadecimal digits): the same for the same JSON, however it is spaced."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):  # no JSON: only the same bytes are the same value
        value = msgspec.json.encode(msgspec.json.decode(value or b"null"), order="sorted")
    return hashlib.blake2b(name.encode() + b"\x00" + value, digest_size=8).hexdigest()


def is_another(known: MessageRow, what: str, content: str = "") -> bool:
    """Whether a message that took effect was not this one, although it has its id."""
    return known.what != what or (known.content != content and "" not in {known.content, content})


def id_taken(message_id: str, known: MessageRow) -> str:
    """The refusal of a message whose id another one has."""
    return (
        f"The id {message_id} is that of another message to this workflow id, a {known.what}; give this one an id of "
        "its own."
    )
