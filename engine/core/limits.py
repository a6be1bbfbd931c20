"""Bounds of the core."""

from __future__ import annotations

NEAR_MAX = 4
"""Pending activities stored in a run's header."""

NEAR_INPUT_BYTES_MAX = 512
"""Input of an activity stored in a run's header."""

LISTENING_NAMES_MAX = 20
LISTENING_NAME_CHARS_MAX = 100

REASON_CHARS_MAX = 2_000
"""Text of a refusal that quotes an input."""

HEADERS_BYTES_MAX = 8_192
"""All keys and values of a start's headers, encoded as UTF-8."""

AWAITED_MS, AWAITED_MS_MAX = 3_600_000, 86_400_000
"""How long a caller waits for a result unless it says so, and at most; then it has to ask again."""

DELAY_MS_MAX = 10 * 365 * 86_400_000
"""Delay of a start, or of an attempt whose failure says when it begins."""

WORKER_GRACE_MS = 10_000
"""How long after an attempt's timeout its worker may report it, before the shard does."""

HISTORY_LONG = 10_000
"""Events after which a run is advised to continue as new."""

HISTORY_MAX = 50_000
"""Events after which a run fails."""

SIGNALS_UNREAD_MAX = 10_000
"""Signals of one run that its code has not read, of the names that its description lists."""

AWAITERS_FEW = 16
"""Callers that await one run's result before the first search for some that no longer wait."""

SIGNALS_DECLARED_MAX = 10_000
"""Signals, and types of one signal, that a process keeps: code may create signals while it runs."""

SIGNALS_NAMED_MAX, SIGNAL_NAME_CHARS_MAX = 10, 80
"""Declared signals that a note to a sender lists."""

SIGNALS_COMPARED_MAX = 1_000
"""Declared signals up to which that list begins with the most similar names (5 µs each)."""

KEPT_MS = 10_000
"""How long a command that came before its run is kept."""

KEPT_MAX, KEPT_BYTES_MAX, KEPT_COMMAND_BYTES_MAX = 1_000, 8 * 1024 * 1024, 256 * 1024
"""Such commands of one shard, the bytes of their rows, and the bytes of one."""

UPDATES_MAX = 1_000
"""Updates of one run that have not ended."""

UPDATE_CALLERS_MAX = 16
"""Callers of one kind that wait for one update: each is a partition of `replies`."""

CALLER_MS, CALLER_MS_MAX = 30_000, 3_600_000
"""How long the caller of a query or an update waits unless it says so, and at most; then it has to ask again."""

READ_BYTES_MAX = 8 * 1024 * 1024
"""Rows of one run that a description over the log reads."""

PAGE_BYTES_MAX, PAGE_ROWS_MAX = 512 * 1024, 5_000
"""Bytes of one page of a history or a list over the log, and rows that it looks at: the shard decides nothing
meanwhile."""

PART_BYTES_MAX = 512 * 1024
"""Bytes of an answer in one record."""

SCHEDULE_STARTS_MAX, SCHEDULE_TICKS_MAX = 100, 1_000
"""Runs that one decision of a schedule starts, and ticks that it decides; the next decision goes on."""

SCHEDULE_WAITING_MAX = 1_000
"""Runs of one schedule that wait for others; ticks beyond are skipped."""

SCHEDULE_MISSED_MAX = 1_000
"""Ticks that were missed and are counted at once."""

SCHEDULE_RECENT_MAX, SCHEDULE_UPCOMING = 10, 5
"""Runs of a schedule that it remembers, and ticks ahead that its description names."""

IMPORT_BYTES_MAX = 960_000
"""History of a run that is imported: it is one record, as command and as event."""

REQUESTS_MAX = 5_000
REQUEST_BYTES_MAX = 4 * 1024 * 1024
"""Requests, and bytes of their inputs, after which an activation is suspended: each becomes three records."""

SHARES_MAX = 100
"""Versions of one workflow type that have a share."""
