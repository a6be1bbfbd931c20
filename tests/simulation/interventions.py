"""Judgement of what operators do by hand: each intervention in a history is the one that an operator asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.activity import ActivitySkipped, SkipActivity
from penstock.schemas.records.replies import Accepted
from tests.simulation.truth import Run

Asked = Mapping[str, Sequence[Any]]
Answers = Mapping[str, Sequence[Any]]


def judge_skips(runs: Iterable[Run], asked: Asked, answers: Answers) -> str:
    """What is wrong with activities that were skipped; empty for nothing. `asked`, `answers`: by message id.

    Each skip has the result of its command and says who asked for it and why; an accepted one took effect once."""
    seen: Counter[str] = Counter()
    for run in runs:
        for record in run.records:
            for event in map(decode, record.events):
                if isinstance(event, ActivitySkipped):
                    message_id = record.trigger.message_id
                    seen[message_id] += 1
                    problem = _skip_problem(event, asked.get(message_id, ()))
                    if problem:
                        return f"{run}: {problem}"
    for message_id, published in asked.items():
        if published and isinstance(published[0], SkipActivity):
            accepted = any(isinstance(answer, Accepted) for answer in answers.get(message_id, ()))
            if seen[message_id] > 1 or (accepted and not seen[message_id]):
                return f"{published[0]} took effect {seen[message_id]} times, and was accepted: {accepted}"
    return ""


def _skip_problem(event: ActivitySkipped, asked: Sequence[Any]) -> str:
    command = asked[0] if asked else None
    if not isinstance(command, SkipActivity):
        return f"{event} was not asked for"
    expected = (command.sequence, command.result, command.by, command.reason)
    found = (event.sequence, event.result, event.by, event.reason)
    return "" if found == expected else f"{event} does not say what was asked for: {command}"
