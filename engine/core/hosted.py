"""Workflow types and signals that a processor hosts, handed in when it is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from difflib import SequenceMatcher
from typing import Any

from penstock.engine.core.execution import Definition
from penstock.engine.core.limits import (
    HISTORY_LONG,
    HISTORY_MAX,
    SIGNAL_NAME_CHARS_MAX,
    SIGNALS_COMPARED_MAX,
    SIGNALS_DECLARED_MAX,
    SIGNALS_NAMED_MAX,
)
from penstock.engine.core.statuses import RUNNING
from penstock.engine.core.versions import chosen, listed, versions_of
from penstock.schemas.values.levels import LEVEL

UNKNOWN_TYPE, UNKNOWN_VERSION, UNHOSTED_TYPE = "unknown_type", "unknown_version", "unhosted_type"
"""Reasons of a run without code: no live processor hosts its type, or its version of it; only other ones do."""

WITHOUT_CODE = frozenset({UNKNOWN_TYPE, UNKNOWN_VERSION, UNHOSTED_TYPE})

Versions = Mapping[str, frozenset[int]]
"""Versions of workflow types by name."""

SignalCheck = Callable[[bytes], str]
"""Why a value (JSON) does not fit a signal, in a sentence; empty if it fits."""

Notes = Callable[[Mapping[str, Any]], list[str]]
"""What a described run needs and no live process hosts, a sentence each."""

HandlersOf = Callable[[Mapping[str, Any]], dict[str, list[str]]]
"""Names of what a described run answers, by kind."""


def no_notes(_: Mapping[str, Any]) -> list[str]:
    """Notes of a log that no other process can reach."""
    return []


class Hosted:
    """What the processor's modules define. `build`: the application's build, recorded in runs that start.

    `workflows`: WorkflowTypes, or one definition by name. `elsewhere`: types that other live processors of the
    namespace host, with their highest versions; `versions_elsewhere`: all versions of them; `versions_everywhere`:
    those that all of these processors have which host the type. `level`: feature level of the namespace; records and
    fields of a higher one are not written. `is_outgrown`: records of the namespace may be
    of a higher level than this program knows. `notes`: what to add to a run's description; for any thread.
    `strict_inputs`: replay treats every changed input as an error (tests, replay tools). `awaited_ms`: how long callers
    are taken to await results, whatever they say, where the clock moves faster than theirs; 0: as they say.
    `history_long`, `history_max`: events after which a run's history is reported as long, and after which it fails.
    `kept_status`: runs with another one leave the memory after each decision."""

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
        self.elsewhere: Mapping[str, int] = {}
        self.versions_elsewhere: Versions = {}
        self.versions_everywhere: Versions = {}
        self.level, self.is_outgrown = LEVEL, False
        self.awaited_ms = 0
        self.history_long, self.history_max = HISTORY_LONG, HISTORY_MAX
        self.kept_status = RUNNING
        self.notes: Notes = no_notes
        self._news = False

    def handlers_of(self, run: Mapping[str, Any]) -> dict[str, list[str]]:
        """Names of what a described run answers, by kind: methods of its type, and what its code registered."""
        definition, registered = self.workflow(run["type"], run["version"]), run["handlers"]
        declared = definition.handlers if definition is not None else {}
        return {kind: sorted({*registered[kind], *declared.get(kind, ())}) for kind in registered}

    def note_others(
        self,
        elsewhere: Mapping[str, int],
        level: int,
        versions: Versions | None = None,
        everywhere: Versions | None = None,
    ) -> None:
        """Take over what other live processors host (types with their highest versions), and the namespace's feature
        level. `versions`, `everywhere`: as `versions_elsewhere`, `versions_everywhere`; by default the highest alone.

        For any thread: each is replaced as a whole."""
        self.level, self.is_outgrown = level, level > LEVEL
        highest = {name: frozenset({version}) for name, version in elsewhere.items()}
        versions = highest if versions is None else versions
        self.versions_everywhere = versions if everywhere is None else everywhere
        if (elsewhere, versions) != (self.elsewhere, self.versions_elsewhere):
            self.elsewhere, self.versions_elsewhere = elsewhere, versions
            self._news = True

    def has_news(self) -> bool:
        """Whether other processors host other types since the last call."""
        if not self._news:
            return False
        self._news = False  # before its caller looks at `elsewhere`
        return True

    def workflow(self, workflow_type: str, version: int = 0) -> Definition | None:
        """The workflow type in that version, 0 for the highest; None if it is not hosted."""
        found = self.workflows.get(workflow_type)
        if found is None or version in {0, found.version}:
            return found
        return versions_of(self.workflows, workflow_type).get(version)

    def version_for(self, workflow_type: str, workflow_id: str, shares: Callable[[], Mapping[int, int]]) -> int:
        """The version that a new run of the type takes, 0 if no live processor hosts it. `shares`: returns those of
        its versions (`chosen`); called if there is a choice."""
        versions = self.versions_for_new(workflow_type)
        if len(versions) > 1:
            return chosen(workflow_type, versions, workflow_id, shares())
        return next(iter(versions), 0)

    def versions_for_new(self, workflow_type: str) -> Collection[int]:
        """The versions among which new runs of the type choose; none if no live processor hosts it.

        While others host the type, only versions that they all host are taken, if there are any: a run whose shard
        moves during a deploy then finds its code there."""
        versions = versions_of(self.workflows, workflow_type).keys()
        everywhere = self.versions_everywhere.get(workflow_type)
        if everywhere is None or len(versions) == 1:
            return versions
        if not versions:
            return everywhere or self.versions_elsewhere.get(workflow_type, frozenset())
        return versions & everywhere or versions

    def versions(self, workflow_type: str) -> list[int]:
        """Versions of the type that this or another live processor hosts, sorted."""
        own = versions_of(self.workflows, workflow_type).keys()
        return sorted(own | self.versions_elsewhere.get(workflow_type, frozenset()))

    def workflow_types(self) -> list[str]:
        """Names of all workflow types that this or another live processor hosts, sorted."""
        return sorted(self.workflows.keys() | self.elsewhere.keys())

    def unknown(self, workflow_type: str, version: int = 0) -> str:
        """The refusal of a start whose type, or version of it, no live processor hosts."""
        if version and (versions := self.versions(workflow_type)):
            hosted = listed(versions)
            return f"No processor of this namespace hosts version {version} of {workflow_type}; hosted: {hosted}."
        hosted = ", ".join(self.workflow_types()) or "none"
        return f"No processor of this namespace hosts a workflow called {workflow_type!r}; hosted: {hosted}."

    def missing(self, workflow_type: str, version: int) -> tuple[str, str]:
        """Reason and message for a run whose type, or version of it, is not hosted here."""
        own = versions_of(self.workflows, workflow_type)
        if own and version in self.versions_elsewhere.get(workflow_type, ()):
            return UNHOSTED_TYPE, (
                f"the processor of its shard has no version {version} of {workflow_type} (it has {listed(own)}), but "
                "another live one has; it goes on by itself when such a processor takes the shard over, at the latest "
                "when this one is replaced"
            )
        if versions := self.versions(workflow_type):
            if version not in versions:
                return UNKNOWN_VERSION, (
                    f"no live processor of this namespace hosts version {version} of {workflow_type} (hosted: "
                    f"{listed(versions)}); it goes on by itself when a processor with that version takes the shard "
                    "over: keep a version's code until no run of it is open"
                )
            return UNHOSTED_TYPE, (
                f"the processor of its shard has no workflow called {workflow_type!r}, but another live one has; it "
                "goes on by itself when such a processor takes the shard over, at the latest when this one is replaced"
            )
        return UNKNOWN_TYPE, (
            f"no live processor of this namespace hosts a workflow called {workflow_type!r}; add its module to the "
            "processors' command line and restart them"
        )

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
