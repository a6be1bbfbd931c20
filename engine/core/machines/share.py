"""Shares of versions: how many of a shard's new runs of a type take a version of it.

Rows of the shard, without a run: a command to the shard changes them, and starts read them (run.py: `version_for`), so
that a start decided again takes the same version."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.engine.core.answers import ignored, kept_text, rejected
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.hosted import UNKNOWN_TYPE, Hosted
from penstock.engine.core.keys import share_key
from penstock.engine.core.limits import SHARES_MAX
from penstock.engine.core.machine import Cause, EventRule, InputRule, Machine, Table, advance
from penstock.engine.core.messages import id_taken, remember_change
from penstock.engine.core.rows import SharesRow, pack
from penstock.engine.core.versions import listed
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.errors import BadInput
from penstock.schemas.ids import check_version
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.share import UNSET, SetVersionShare, VersionShareSet, VersionShareUnset
from penstock.schemas.values.shares import SHARE_ALL

DEFAULT, SHARED = "default", "shared"

TRANSITIONS: Table = {
    (DEFAULT, VersionShareSet): SHARED,
    (SHARED, VersionShareSet): SHARED,
    (SHARED, VersionShareUnset): DEFAULT,
}

CHANGE = "change of a share"
"""What a message was."""


# Decide.


def _set(run: RunView, command: SetVersionShare, now_ms: int) -> Decision:
    name, version, share = command.workflow_type, command.version, command.share
    known = run.message(command.message_id) if command.message_id else None
    if known is not None and known.what != CHANGE:
        return rejected(Rejection("bad_input", id_taken(command.message_id, known)))
    if known is not None:
        return ignored("", "this message took effect before", reply=_reply(run.hosted, command))
    shares = run.shares(name)
    problem = _problem(run.hosted, command, shares)
    if problem is not None:
        return rejected(problem)
    if shares.get(version, UNSET) == share:
        return ignored("", "the share is so already", reply=_reply(run.hosted, command))
    by, reason = kept_text(command.by), kept_text(command.reason)
    event = (
        VersionShareUnset(workflow_type=name, version=version, by=by, reason=reason)
        if share == UNSET
        else VersionShareSet(workflow_type=name, version=version, share=share, by=by, reason=reason)
    )
    return Decision(run_id="", events=[event], unnumbered=True, reply=_reply(run.hosted, command))


def _problem(hosted: Hosted, command: SetVersionShare, shares: Mapping[int, int]) -> Rejection | None:
    """Why the command is refused; None if it is not. What is there can always be taken back."""
    name, version = command.workflow_type, command.version
    if command.share == UNSET and version in shares:
        return None
    try:
        check_version(version)
    except BadInput as error:
        return Rejection("bad_input", str(error))
    if not UNSET <= command.share <= SHARE_ALL:
        message = f"A share is a whole number from 0 to {SHARE_ALL:,}, or {UNSET} for none, not {command.share}."
        return Rejection("bad_input", message)
    if not hosted.versions(name):
        return Rejection(UNKNOWN_TYPE, hosted.unknown(name))
    if version not in shares and len(shares) >= SHARES_MAX:
        message = f"{name} has shares for {SHARES_MAX} versions; take back those of versions that are gone."
        return Rejection("too_many", message)
    return None


def _reply(hosted: Hosted, command: SetVersionShare) -> Accepted:
    return Accepted(
        message_id=command.message_id, workflow_id="", run_id="", existing=True, note=_note(hosted, command)
    )


def _note(hosted: Hosted, command: SetVersionShare) -> str:
    """Why the share has no effect for now; empty if it has one."""
    name, version, versions = command.workflow_type, command.version, hosted.versions(command.workflow_type)
    if command.share == UNSET:
        return ""
    if version not in versions:
        return (
            f"no live processor hosts version {version} of {name} (hosted: {listed(versions)}); its share counts as "
            "soon as one does"
        )
    if version == versions[0]:
        return f"version {version} is the lowest of {name}, and takes the new runs that no higher version takes"
    return ""


# Evolve.


def _on_changed(run: WorkingRun, event: VersionShareSet | VersionShareUnset, cause: Cause) -> None:
    shares = dict(run.shares(event.workflow_type))
    state = SHARED if event.version in shares else DEFAULT
    advance(TRANSITIONS, state, event, f"version {event.version} of {event.workflow_type}")
    if isinstance(event, VersionShareSet):
        shares[event.version] = event.share
    else:
        del shares[event.version]
    row = SharesRow(shares=dict(sorted(shares.items()))) if shares else None
    run.writes[share_key(event.workflow_type)] = pack(row) if row is not None else None
    remember_change(run, cause, CHANGE)


MACHINE = Machine(
    name="share",
    transitions=TRANSITIONS,
    inputs={SetVersionShare: InputRule(_set)},
    events={
        VersionShareSet: EventRule(evolve=_on_changed),
        VersionShareUnset: EventRule(evolve=_on_changed),
    },
)
