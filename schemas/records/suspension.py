"""Events of an activation that is spread over several decisions."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class ActivationSuspended(Event, frozen=True, gc=False, kw_only=True):
    """The code made as many requests as one transaction takes and has not come to a wait. A request.

    `sequence`: of the last request."""

    sequence: int


class ActivationResumed(Event, frozen=True, gc=False, kw_only=True):
    """A suspended activation goes on, as planned for that time (epoch)."""

    resume_ms: int
