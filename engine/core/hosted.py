"""Workflow types and signals that a processor hosts, handed in when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import SequenceMatcher

from penstock.engine.core.execution import Definition
from penstock.engine.core.limits import (
    SIGNAL_NAME_CHARS_MAX,
    SIGNALS_COMPARED_MAX,
    SIGNALS_DECLARED_MAX,
    SIGNALS_NAMED_MAX,
)

SignalCheck = Callable[[bytes], str]
"""Why a value (JSON) does not fit a signal, in a sentence; empty if it fits."""


class Hosted:
    """What the processor's modules define. `build`: the application's build, recorded in runs that start.

    `strict_inputs`: replay treats every changed input as an error (tests, replay tools)."""

    def __init__(
        self,
        workflows: Mapping[str, Definition],
        signals: Mapping[str, SignalCheck] | None = None,
        *,
        build: str = "",
        strict_inputs: bool = False,
    ) -> None:
        self.workflows = workflows
        self.signals = signals if signals is not None else {}
        self.build, self.strict_inputs = build, strict_inputs

    def workflow(self, workflow_type: str) -> Definition | None:
        """The workflow type, None if it is not hosted."""
        return self.workflows.get(workflow_type)

    def workflow_types(self) -> list[str]:
        """Names of all hosted workflow types, sorted."""
        return sorted(self.workflows)

    def signal_problem(self, name: str, value: bytes) -> str:
        """Why `value` does not fit the declared signal; empty if it fits or the signal is not declared."""
        check = self.signals.get(name)
        return check(value) if check is not None else ""

    def _nearest(self, name: str) -> list[str]:
        """Declared signals to list in a warning: the most similar ones first, if there are few enough to compare."""
        known = sorted(self.signals)
        if len(known) <= SIGNALS_COMPARED_MAX:
            matcher = SequenceMatcher(b=name[:SIGNAL_NAME_CHARS_MAX])
            known.sort(key=lambda other: -_similarity(matcher, other))
        return known[:SIGNALS_NAMED_MAX]

    def signal_note(self, name: str) -> str:
        """A warning for the sender of a signal that no module declares; empty for a declared one."""
        if name in self.signals or len(self.signals) >= SIGNALS_DECLARED_MAX:
            return ""
        names = [known[:SIGNAL_NAME_CHARS_MAX] for known in self._nearest(name)]
        if len(self.signals) > SIGNALS_NAMED_MAX:
            names.append(f"and {len(self.signals) - SIGNALS_NAMED_MAX} more")
        return (
            f"no module of this processor declares a signal called {name[:SIGNAL_NAME_CHARS_MAX]!r} "
            f"(declared: {', '.join(names) or 'none'}); it is kept until the workflow reads one of that name"
        )


def _similarity(matcher: SequenceMatcher[str], other: str) -> float:
    """Share of the letters that both names have, in any order (0 to 1)."""
    matcher.set_seq1(other[:SIGNAL_NAME_CHARS_MAX])
    return matcher.quick_ratio()
