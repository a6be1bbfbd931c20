"""Story of a simulation: numbered lines in plain words, the same for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

STORY_LINES_SHOWN = 400


class Violation(AssertionError):
    """An invariant does not hold. `invariant`: its letter and its name."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


class SimulatedCrash(BaseException):
    """The process ends here, at once; only the simulator may catch this."""


class Story:
    """Lines of one simulation. `clock` returns the milliseconds since its beginning."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.lines: list[str] = []

    def tell(self, who: str, what: str) -> None:
        """Add a line."""
        self.lines.append(f"{len(self.lines) + 1:5}  +{self._clock() / 1000:9.3f} s  {who:<8} {what}")

    def text(self) -> str:
        """The story; a long one without its beginning, since the violation is at its end."""
        left_out = max(0, len(self.lines) - STORY_LINES_SHOWN)
        head = [f"       … {left_out} lines before"] if left_out else []
        return "\n".join(head + self.lines[left_out:])

    def digest(self) -> str:
        """Hash of the story."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
