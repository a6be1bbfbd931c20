r"""Escapes for control characters in user-defined text: ids and names may contain newlines (`\n`) and escapes (`\x1b`).

Tables keep their lines, and no id controls the terminal. JSON, and output for scripts, is not escaped.
"""

from __future__ import annotations

import re

# C0, DEL and C1; other line separators; marks that change the direction of writing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """Replace every control character by its escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
