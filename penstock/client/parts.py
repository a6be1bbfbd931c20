"""Answers of reads that take several records of `replies`."""

from __future__ import annotations

import msgspec

from penstock.schemas.records.replies import ReadAnswered


class Parts:
    """Parts that have arrived, by message id. They arrive in order, since one transaction appended them."""

    def __init__(self) -> None:
        self._found: dict[str, list[bytes]] = {}

    def joined(self, part: ReadAnswered) -> ReadAnswered | None:
        """The whole answer, once its last part is here; None before, and for a part whose predecessor is missing."""
        if part.part == 1:
            self._found[part.message_id] = []
        found = self._found.get(part.message_id)
        if found is None or len(found) != part.part - 1:
            return None
        found.append(part.data)
        if part.part < part.parts:
            return None
        self.forget(part.message_id)
        return msgspec.structs.replace(part, data=b"".join(found))

    def forget(self, message_id: str) -> None:
        """Discard the parts of an answer: its caller waits no longer."""
        self._found.pop(message_id, None)
