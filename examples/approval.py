"""Approval of an expense with escalation, by an update for the decision, a query for the status, and a timer.

penstock dev examples/approval.py

and in another shell, in the same folder:

penstock start expense --id trip-7 --input '{"what":"trip","amount":310.0,"approvers":["ann","bob"],"patience":"10m"}'
penstock query trip-7 status
penstock update trip-7 decide --input '{"by":"ann","outcome":"approved"}'
penstock result trip-7
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from penstock import activity, wait_condition, workflow


class Expense(BaseModel):
    """An expense. `approvers` are asked one after the other; each has `patience` (a duration) to decide."""

    what: str
    amount: float
    approvers: list[str]
    patience: str = "2d"


Decision = Literal["approved", "rejected"]


class Verdict(BaseModel):
    """The outcome. `by`: the approver who decided, empty if the time of all has passed."""

    outcome: Literal["approved", "rejected", "expired"]
    by: str = ""


class Status(BaseModel):
    """Where an expense stands: who is asked now, and who was asked before."""

    waits_for: str
    passed_over: list[str]


@activity
async def ask(approver: str, expense: Expense) -> None:
    """Tell an approver that an expense waits for a decision."""


@workflow(name="expense")
class Approving:
    """Asks the approvers in turn until one decides."""

    def __init__(self, expense: Expense) -> None:
        self.expense = expense
        self.asked: list[str] = []
        self.verdict: Verdict | None = None

    @workflow.run
    async def run(self) -> Verdict:
        """Ask each approver in turn. The first decision counts, also after the time of its approver."""
        for approver in self.expense.approvers:
            self.asked.append(approver)
            await ask(approver, self.expense)
            try:
                await wait_condition(lambda: self.verdict is not None, timeout=self.expense.patience)
            except TimeoutError:
                continue
            assert self.verdict is not None
            return self.verdict
        return Verdict(outcome="expired")

    @workflow.query
    def status(self) -> Status:
        """Who is asked now."""
        *passed_over, current = self.asked or [""]
        return Status(waits_for="" if self.verdict else current, passed_over=passed_over)

    @workflow.update
    def decide(self, by: str, outcome: Decision) -> Verdict:
        """Decide, and return what counts from now on."""
        self.verdict = Verdict(outcome=outcome, by=by)
        return self.verdict

    @decide.validator
    def _may_decide(self, by: str, outcome: Decision) -> None:  # noqa: ARG002 - a validator has the update's parameters
        if self.verdict is not None:
            raise ValueError(f"{self.verdict.by} has decided already: {self.verdict.outcome}")
        if by not in self.asked:
            raise ValueError(f"{by} was not asked")
