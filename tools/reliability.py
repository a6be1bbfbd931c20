"""The page docs/reference/reliability.md, from the list of mends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from tools.mends import mends

_HEADINGS = {
    "A.1": "A transaction that the log refuses",
    "A.2": "Code that does not return, or ends the process",
    "A.3": "A clock that is wrong",
    "A.4": "Work that slows all runs",
    "A.5": "Rolling deploys and wrong neighbours",
    "A.6": "Activities that harm their worker",
    "B.1": "Bugs in workflow code",
    "B.2": "Closed runs and remembered messages",
    "B.3": "Tasks that outlive their workers",
    "B.4": "Missing or foreign state",
    "B.5": "Settings of topics",
    "B.6": "Sizes",
    "B.7": "Another version of Python",
    "B.8": "Records and errors that were not noticed",
    "B.9": "Workflow ids that are taken",
    "B.10": "Activities that run again",
    "B.11": "Shards that do not open, and ends that are not orderly",
    "C": "Values and code",
}

_INTRODUCTION = """\
# Reliability

What happens when something goes wrong, and the test that holds it. Each line was a fault once: `make mends` switches
one mend after the other off and sees its test fail. `make chaos-quick` strikes processors, workers and a broker with
some of these faults, beside a workload that must not notice more than a gap; `make sim` runs random programs under
random faults. What an operator does about a BLOCKED run or a shard that has stopped is in the [guide to
operating](../guides/operating.md)."""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield _INTRODUCTION
    for item, group in groupby(mends(), key=lambda mend: mend.item):
        yield from ("", f"## {_HEADINGS.get(item) or _HEADINGS[item.partition('.')[0]]}", "")
        yield from ("| what happens | test |", "|---|---|")
        for mend in group:
            path, _, name = mend.test.partition("::")
            says = mend.says.replace("|", "\\|")
            yield f"| {says} | [`{name.partition('[')[0]}`](../../{path}) |"
