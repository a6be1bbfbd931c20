"""Comparison of the requests that code makes on replay with those in its history, for one decision.

Kind, sequence and subject of a request must agree with the recorded one. Inputs should: both are read and
written again by today's types, so that a new default is no difference, and then compared. Requests that exchanged their
inputs would receive each other's results, so a permutation of two or more is an error, whatever else has changed. Notes
(details, search attributes) may differ, be left out or come in addition: that is a difference of inputs too.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from penstock.engine.core.catalogue import EVENTS, NOTES
from penstock.engine.core.execution import InputDifference
from penstock.schemas.errors import NonDeterminism
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.suspension import ActivationSuspended

Rewrite = Callable[[bytes], bytes]


class _Changed(NamedTuple):
    """A request whose input is not the recorded one, both as today's types write them."""

    request: Any
    kind: str
    recorded: bytes
    asked: bytes


class Matcher:
    """The recorded requests of one decision, matched one by one with those of the code."""

    def __init__(self, recorded: Iterable[Event]) -> None:
        self._recorded = deque(recorded)
        self._changed: list[_Changed] = []
        self._notes: list[_Changed] = []
        self.mismatch = ""

    @property
    def following(self) -> Any:
        """The next recorded request, notes left out; None if there is none."""
        return next((recorded for recorded in self._recorded if type(recorded) not in NOTES), None)

    @property
    def is_suspended(self) -> bool:
        """Whether the activation was suspended here."""
        return bool(self._recorded) and type(self._recorded[0]) is ActivationSuspended

    def match(self, request: Event, rewrite: Rewrite | None) -> None:
        """Compare the code's next request. `rewrite`: reads and writes its input by today's types."""
        if self.mismatch:
            return
        if type(request) in NOTES:
            self._match_note(request)
            return
        self._leave_out_notes()
        if not self._recorded:
            self.mismatch = f"the code requests {described(request)}, where the history holds nothing more"
            return
        recorded = self._recorded.popleft()
        if _identity(recorded) != _identity(request):
            self.mismatch = f"the history holds {described(recorded)}, the code requests {described(request)}"
            return
        payload = EVENTS[type(request)].payload
        if payload is not None and (was := payload(recorded)) != (asked := payload(request)):
            was, now = _rewritten(rewrite, was), _rewritten(rewrite, asked)
            if was != now:
                self._changed.append(_Changed(request, _group(request), was, now))

    def _match_note(self, note: Any) -> None:
        """Compare with the next recorded note of its kind, if one comes before any other request."""
        for at, recorded in enumerate(self._recorded):
            if type(recorded) not in NOTES:
                break
            if type(recorded) is type(note):
                del self._recorded[at]
                self._note_difference(note, recorded, note)
                return
        self._note_difference(note, None, note)

    def _leave_out_notes(self) -> None:
        """Pass recorded notes that the code does not make."""
        while self._recorded and type(self._recorded[0]) in NOTES:
            left_out = self._recorded.popleft()
            self._note_difference(left_out, left_out, None)

    def _note_difference(self, note: Any, recorded: Any, asked: Any) -> None:
        payload = EVENTS[type(note)].payload
        assert payload is not None, "a note has a content"
        was, now = (b"" if one is None else payload(one) for one in (recorded, asked))
        if was != now or recorded is None or asked is None:
            self._notes.append(_Changed(note, _kind(note), was, now))

    def finish(self, workflow_type: str, *, strict_inputs: bool) -> list[InputDifference]:
        """End the decision. Returns the requests whose inputs differ.

        Raises NonDeterminism for requests that do not match, for permuted inputs, and if `strict_inputs` for any
        difference."""
        self._leave_out_notes()
        if not self.mismatch and self._recorded:
            self.mismatch = f"the history goes on with {described(self._recorded[0])}, which the code does not request"
        if not self.mismatch:
            self.mismatch = self._permutation() or (self._difference() if strict_inputs else "")
        if self.mismatch:
            raise NonDeterminism(self.mismatch)
        return [
            InputDifference(workflow_type, one.kind, getattr(one.request, "sequence", 0), one.recorded, one.asked)
            for one in (*self._changed, *self._notes)
        ]

    def _permutation(self) -> str:
        for kind in dict.fromkeys(one.kind for one in self._changed):
            ours = [one for one in self._changed if one.kind == kind]
            exchanged = _exchanged(ours)
            if exchanged:
                numbers = ", ".join(str(one.request.sequence) for one in exchanged[:5])
                return (
                    f"the code makes the same requests {kind} in another order (requests {numbers}), as iteration over "
                    "a set does; iterate over a list or sorted(…)"
                )
        return ""

    def _difference(self) -> str:
        first = next(iter((*self._changed, *self._notes)), None)
        if first is None:
            return ""
        return (
            f"the input of {described(first.request)} was {payload_text(first.recorded)} in the history and is now "
            f"{payload_text(first.asked)}"
        )


def described(request: Any) -> str:
    """A request in words: kind, subject and sequence."""
    sequence = getattr(request, "sequence", 0)
    return _kind(request) + (f" as request {sequence}" if sequence else "")


def _kind(request: Any) -> str:
    subject = _subject(request)
    return type(request).__name__ + (f" {subject}" if subject else "")


def _exchanged(changed: Sequence[_Changed]) -> list[_Changed]:
    """Those requests whose inputs went round in a circle: each asks what another one of them had recorded."""
    forwards = _on_circles([(one.recorded, one.asked, one) for one in changed])
    return _on_circles([(one.asked, one.recorded, one) for one in forwards])


def _on_circles(edges: Sequence[tuple[bytes, bytes, _Changed]]) -> list[_Changed]:
    """Requests of the edges that remain when nodes that no edge leads to are removed one by one (Kahn, 1962)."""
    incoming = Counter(end for _, end, _ in edges)
    outgoing: dict[bytes, list[bytes]] = {}
    for start, end, _ in edges:
        outgoing.setdefault(start, []).append(end)
    removable = [node for node in outgoing if not incoming[node]]
    while removable:
        for end in outgoing.pop(removable.pop()):
            incoming[end] -= 1
            if not incoming[end] and end in outgoing:
                removable.append(end)
    return [one for start, _, one in edges if start in outgoing]


def _group(request: Any) -> str:
    """Kind of a request, and what those have in common that could receive each other's results."""
    group = EVENTS[type(request)].group
    return f"{type(request).__name__} {group(request)}" if group is not None else _kind(request)


def _identity(request: Any) -> tuple[Any, ...]:
    return (type(request), getattr(request, "sequence", 0), _subject(request))


def _subject(request: Any) -> str:
    subject = EVENTS[type(request)].subject
    return subject(request) if subject is not None else ""


def _rewritten(rewrite: Rewrite | None, data: bytes) -> bytes:
    if rewrite is None:
        return data
    try:
        return rewrite(data)
    except Exception:  # noqa: BLE001 - today's types may refuse it in any way; it then differs as it was recorded
        return data


def payload_text(data: bytes, characters_max: int = 200) -> str:
    """A payload as text, as much of it as fits."""
    text = data.decode(errors="replace")
    return text if len(text) <= characters_max else f"{text[:characters_max]}…"
