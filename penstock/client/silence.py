"""What does a caller hear while nobody answers? One sentence: what is waited for, how long yet, and what helps.

A start, a signal and every other order is answered at once by a processor, so a few seconds of silence mean that none
runs. A result may be long in coming: for it `Run.result` looks whether anybody serves the run. A silence is told once,
and told again only after something was heard in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

from penstock.schemas.records.kinds import Command

_log = structlog.get_logger(__name__)

_ORDERS = {
    "StartWorkflow": "the start of",
    "SignalWorkflow": "the signal to",
    "CancelWorkflow": "the cancelling of",
    "TerminateWorkflow": "the terminating of",
    "RetryWorkflow": "the retrying of",
}


class Silence:
    """One client's silence. `tell` is where its sentence goes: a warning in the log, unless another is set."""

    after_s = 3.0
    look_every_s = 30.0

    def __init__(self, host: str, namespace: str) -> None:
        self.tell: Callable[[str], None] = _log.warning
        self.remedy = f"if none runs for namespace {namespace}, start {host}."
        self._told = False
        self._looked_s = -math.inf

    def broken(self) -> None:
        """Something was heard."""
        self._told = False

    def may_look(self) -> bool:
        """Whether it is time to look for who serves a run; one look counts for all results that are waited for."""
        now_s = time.monotonic()
        due = now_s - self._looked_s >= self.look_every_s
        if due:
            self._looked_s = now_s
        return due

    def of_order(self, command: Command, others: int, timeout_s: float | None) -> None:
        """A command lies on the log, and as many `others` with it, for `after_s` without an answer."""
        what = f"{_ORDERS.get(type(command).__name__, 'an order to')} {command.workflow_id}"
        what += f" and {others} more" if others else ""
        left_s = None if timeout_s is None else timeout_s - self.after_s
        self._tell_once(f"no processor has answered {what} for {self.after_s:g} s", left_s)

    def of_result(self, workflow_id: str, left_s: float | None) -> None:
        """Nobody serves the run whose result is waited for."""
        self._tell_once(f"no processor that has {workflow_id} can be reached", left_s)

    def _tell_once(self, what: str, left_s: float | None) -> None:
        if not self._told:
            self._told = True
            bound = "without end" if left_s is None else f"up to {math.ceil(left_s)} s more"
            self.tell(f"{what}; waiting {bound}: {self.remedy}")
