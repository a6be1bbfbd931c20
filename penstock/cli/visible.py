r"""How is a text shown whose characters are not ours? Ids and names may hold newlines and escapes: as `\n` and `\x1b`.

So a table keeps its lines, and no id steers the terminal of who looks at it. JSON, and what scripts read, stays as it
was given.
"""

from __future__ import annotations

import re

# C0, DEL and C1; what else ends a line; what turns the direction of writing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with every control character as its escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
