"""Tests of shares: which new runs take a version, and what the command that says so is answered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.versions import chosen
from penstock.engine.runtime.share_reads import version_shares
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import WorkflowFailedError
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.records.schedule import CreateSchedule
from penstock.schemas.records.share import UNSET, ListVersionShares, SetVersionShare
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.levels import LEVEL
from penstock.schemas.values.retry import RetryPolicy
from penstock.schemas.values.schedule_spec import ScheduleSpec
from tests.engine.stage import Stage

NAME = "shares"
go = Signal("shares-go", int)


@workflow(name=NAME, version=1)
async def first() -> int:
    return await go.wait()


@workflow(name=NAME, version=2)
async def second() -> int:
    return await go.wait()


@workflow(name=NAME, version=3)
async def third(number: int) -> int:
    return number


@workflow(name="shares-parent")
async def parent(id: str) -> int:
    return await second().options(id=id)


IDS = [f"run-{n}" for n in range(60)]


def share(version: int, share: int, **fields: Any) -> SetVersionShare:
    return SetVersionShare(workflow_type=NAME, version=version, share=share, **fields)


def start_all(stage: Stage, ids: list[str], **fields: Any) -> dict[str, int]:
    """Start a run of each id; the version that it took."""
    for id in ids:
        stage.tell(StartWorkflow(workflow_id=id, workflow_type=NAME, input=b"null", message_id=id, **fields))
    return {id: stage.described(id)["version"] for id in ids}


def decided(ids: list[str], versions: tuple[int, ...], shares: dict[int, int]) -> dict[str, int]:
    return {id: chosen(NAME, versions, id, shares) for id in ids}


def answer(stage: Stage, command: Any) -> Any:
    """The answer of the only shard."""
    stage.take("replies")
    stage.put("commands", 0, _encoded(stage, command))
    stage.settle()
    (reply,) = stage.take("replies")
    return reply


def _encoded(stage: Stage, command: Any) -> bytes:
    message_id = command.message_id or stage.message_id()
    return encode(msgspec.structs.replace(command, message_id=message_id, reply_to=0))


def test_new_runs_take_a_version_in_its_share() -> None:
    """Starts before the command take the highest version; those after it the one that the share gives to their ids."""
    stage = Stage(first, second, shards=2)
    before = start_all(stage, ["before-1", "before-2"])
    stage.tell_all(share(2, 3_000))
    after = start_all(stage, IDS)
    assert set(before.values()) == {2}
    assert after == decided(IDS, (1, 2), {2: 3_000})
    assert set(after.values()) == {1, 2}


def test_shards_that_are_opened_again_choose_alike() -> None:
    """Shards that begin again from their stores choose the same version for each id as before."""
    stage = Stage(first, second, shards=2)
    stage.tell_all(share(2, 5_000))
    stage.restart(first, second)
    assert start_all(stage, IDS) == decided(IDS, (1, 2), {2: 5_000})


def test_a_share_concerns_its_shard() -> None:
    """A command on one shard's partition changes the share of that shard's runs alone, whatever its key is."""
    stage = Stage(first, second, shards=2)
    stage.put("commands", 1, _encoded(stage, share(2, 0)))
    stage.settle()
    assert [version_shares(store) for store in stage.stores] == [[], [{"type": NAME, "version": 2, "share": 0}]]
    assert stage.take("dead-letters") == []


def test_a_share_in_json() -> None:
    """The command in JSON names type, version and share, and has no id of a workflow."""
    stage = Stage(first, second)
    command = b'{"command":"SetVersionShare","type":"shares","version":2,"share":1000,"by":"ann"}'
    stage.put("commands", 0, command)
    stage.settle()
    assert version_shares(stage.stores[0]) == [{"type": NAME, "version": 2, "share": 1_000}]


def test_an_explicit_version_wins_over_a_share() -> None:
    """With a share of 0 %, the starts that name the version take it, and no other start does."""
    stage = Stage(first, second)
    stage.tell_all(share(2, 0))
    assert set(start_all(stage, IDS[:9]).values()) == {1}
    assert set(start_all(stage, ["cohort-1", "cohort-2"], version=2).values()) == {2}


def test_open_runs_keep_their_version_when_shares_change() -> None:
    """A run that began before goes on with its code after the share of its version has become 0."""
    stage = Stage(first, second)
    start_all(stage, ["run-1"])
    stage.tell_all(share(2, 0))
    stage.restart(first, second)
    stage.tell(SignalWorkflow(workflow_id="run-1", signal="shares-go", input=b"7", message_id="s"))
    assert (stage.described("run-1")["version"], stage.described("run-1")["result"]) == (2, 7)


def test_children_of_other_types_take_a_version_in_its_share() -> None:
    """A child takes the version that a start of its id takes on its shard."""
    stage = Stage(parent, first, second)
    stage.tell_all(share(2, 5_000))
    ids = [f"child-{n}" for n in range(12)]
    for id in ids:
        stage.start(parent, id, id=f"parent-of-{id}")
    assert {id: stage.described(id)["version"] for id in ids} == decided(ids, (1, 2), {2: 5_000})


def test_what_a_version_leaves_goes_to_the_next_lower_one() -> None:
    """Each version takes its share of what the higher ones leave, and the lowest the rest."""
    stage = Stage(first, second, third)
    stage.tell_all(share(3, 0))
    stage.tell_all(share(2, 2_500))
    found = start_all(stage, IDS)
    assert found == decided(IDS, (1, 2, 3), {3: 0, 2: 2_500})


def test_a_share_is_taken_back() -> None:
    """Without its share, a version takes all new runs again, and no row is left."""
    stage = Stage(first, second)
    stage.tell_all(share(2, 0))
    assert start_all(stage, ["run-1"]) == {"run-1": 1}
    stage.tell_all(share(2, UNSET))
    assert start_all(stage, ["run-2"]) == {"run-2": 2}
    assert version_shares(stage.stores[0]) == []


def test_a_change_is_recorded_with_who_and_why() -> None:
    """The topic `events` has one event a change, unnumbered, with who asked for it and why; none for no change."""
    stage = Stage(first, second)
    for wanted in (100, 100, UNSET):
        stage.tell_all(share(2, wanted, by="ann", reason="canary"))
    events = [(found.first_sequence, decode(found.events[0])) for found in stage.take("events")]
    assert [(number, type(event).__name__) for number, event in events] == [
        (0, "VersionShareSet"),
        (0, "InputIgnored"),
        (0, "VersionShareUnset"),
    ]
    assert (events[0][1].share, events[0][1].by, events[0][1].reason) == (100, "ann", "canary")


def test_a_repeated_message_has_no_effect() -> None:
    """A command that comes again after another change changes nothing, and is accepted."""
    stage = Stage(first, second)
    old = share(2, 100, message_id="m")
    answer(stage, old)
    answer(stage, share(2, 200))
    assert answer(stage, old).message_id == "m"
    assert version_shares(stage.stores[0]) == [{"type": NAME, "version": 2, "share": 200}]


@pytest.mark.parametrize(
    ("command", "reason", "message"),
    [
        (share(2, 10_001), "bad_input", "A share is a whole number from 0 to 10,000, or -1 for none, not 10001."),
        (share(2, -2), "bad_input", "A share is a whole number from 0 to 10,000, or -1 for none, not -2."),
        (share(0, 1), "bad_input", "The version of a workflow is a whole number from 1 to 1,000,000,000, not 0."),
        (
            SetVersionShare(workflow_type="shares-none", version=2, share=1),
            "unknown_type",
            "No processor of this namespace hosts a workflow called 'shares-none'; hosted: shares.",
        ),
    ],
)
def test_a_bad_share_is_refused(command: SetVersionShare, reason: str, message: str) -> None:
    """A share, version or type that cannot be is refused with a sentence, and changes nothing."""
    stage = Stage(first, second)
    reply = answer(stage, command)
    assert (reply.reason, reply.message) == (reason, message)
    assert version_shares(stage.stores[0]) == []


def test_too_many_shares_are_refused() -> None:
    """A type has shares for at most 100 versions; those that are there can be changed and taken back."""
    stage = Stage(first, second)
    for version in range(1, 101):
        stage.tell_all(share(version, 1))
    assert answer(stage, share(101, 1)).reason == "too_many"
    assert answer(stage, share(100, 2)).existing
    assert answer(stage, share(100, UNSET)).existing
    assert answer(stage, share(101, 1)).existing


def test_a_share_of_a_version_that_is_not_hosted_is_noted() -> None:
    """The share of a version before its roll-out is kept, the answer says so, and it counts once it is hosted."""
    stage = Stage(first)
    note = answer(stage, share(2, 0)).note
    assert note == ("no live processor hosts version 2 of shares (hosted: 1); its share counts as soon as one does")
    stage.restart(first, second)
    assert start_all(stage, ["run-1"]) == {"run-1": 1}


def test_a_share_of_the_lowest_version_is_noted() -> None:
    """The answer says that the lowest version takes what the others leave, whatever its share is."""
    stage = Stage(first, second)
    assert answer(stage, share(1, 5_000)).note.startswith("version 1 is the lowest of shares, and takes the new runs")
    assert start_all(stage, ["run-1"]) == {"run-1": 2}


def test_a_type_that_others_host_starts_in_its_shares() -> None:
    """A start that waits for a processor with its type takes its version as any other does."""
    stage = Stage(parent)
    hosted = stage.nodes[0].runs.hosted
    both = {NAME: frozenset({1, 2})}
    hosted.note_others({NAME: 2}, LEVEL, both, both)
    stage.tell_all(share(2, 5_000))
    assert start_all(stage, IDS[:12]) == decided(IDS[:12], (1, 2), {2: 5_000})


def test_shares_are_listed() -> None:
    """A shard returns its shares by type and version."""
    stage = Stage(first, second)
    stage.tell_all(share(2, 1_000))
    reply = answer(stage, ListVersionShares())
    assert msgspec.json.decode(reply.data) == {"shares": [{"type": NAME, "version": 2, "share": 1_000}]}


def test_a_scheduled_run_takes_its_version_as_any_new_run() -> None:
    """The runs of a schedule take the version that the share gives their ids."""
    stage = Stage(first, second)
    stage.tell_all(share(2, 5_000))
    spec = ScheduleSpec(every_ms=1_000, overlap="allow_all", remaining=16)
    stage.tell(CreateSchedule(workflow_id="schedule:s", workflow_type=NAME, input=b"null", spec=spec, message_id="c"))
    stage.advance(20)
    starts = [found for found in stage.take("commands") if isinstance(found, StartWorkflow)]
    ids = [found.workflow_id for found in starts]
    assert len(ids) == 16
    assert {id: stage.described(id)["version"] for id in ids} == decided(ids, (1, 2), {2: 5_000})
    assert {found.version for found in starts} == {0}


def test_a_schedule_fits_each_version_that_its_runs_may_have() -> None:
    """An input that one of those versions cannot take is refused; a version with a share of 0 is none of them."""
    stage = Stage(first, second, third)
    create = CreateSchedule(
        workflow_id="schedule:s", workflow_type=NAME, input=b"null", spec=ScheduleSpec(every_ms=1_000)
    )
    assert "version 3 of shares, which its runs may have, cannot take this input" in answer(stage, create).message
    stage.tell_all(share(3, 0))
    assert isinstance(answer(stage, create), Accepted)


@workflow(name="shares-tried", version=1)
async def tried() -> int:
    raise WorkflowFailedError("no")


@workflow(name="shares-tried", version=2)
async def tried_anew() -> int:
    return 2


def test_a_run_that_is_tried_again_or_reset_keeps_its_version() -> None:
    """Retries, and resets of open and of closed runs, stay on the version of the run, whatever the shares are then."""
    stage = Stage(first, second, tried, tried_anew)
    start_all(stage, ["run-1"], version=1)
    stage.tell_all(share(2, 10_000))
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=1, message_id="open"))
    assert (stage.described()["version"], stage.described()["reset_to"]) == (1, 1)
    stage.tell(SignalWorkflow(workflow_id="run-1", signal="shares-go", input=b"7", message_id="s"))
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=1, message_id="closed"))
    assert (stage.described()["version"], stage.described()["status"]) == (1, "completed")
    retry = RetryPolicy(retries_max=1, delays_ms=(1_000,), factor=1.0)
    stage.tell(
        StartWorkflow(
            workflow_id="run-2", workflow_type="shares-tried", input=b"null", message_id="r", version=1, retry=retry
        )
    )
    stage.advance(2)
    described = stage.described("run-2")
    assert (described["version"], described["retries"], described["status"]) == (1, 1, "failed")


def test_a_version_whose_runs_have_closed_can_be_removed() -> None:
    """Without the code of a version that has no open run, new runs start, and its closed runs are still described."""
    stage = Stage(first, second)
    stage.tell_all(share(2, 0))
    start_all(stage, ["run-1"])
    stage.tell(SignalWorkflow(workflow_id="run-1", signal="shares-go", input=b"7", message_id="s"))
    stage.restart(second)
    assert start_all(stage, ["run-2"]) == {"run-2": 2}
    assert (stage.described("run-1")["version"], stage.described("run-1")["result"]) == (1, 7)


def test_a_share_counts_once_all_processors_have_the_version() -> None:
    """While another live processor of the type lacks the version, no new run takes it, whatever its share is."""
    stage = Stage(first, second)
    hosted = stage.nodes[0].runs.hosted
    both, old = {NAME: frozenset({1, 2})}, {NAME: frozenset({1})}
    stage.tell_all(share(2, 5_000))
    hosted.note_others({NAME: 1}, LEVEL, old, old)
    assert set(start_all(stage, IDS[:20]).values()) == {1}
    hosted.note_others({NAME: 2}, LEVEL, both, both)
    assert start_all(stage, IDS[20:]) == decided(IDS[20:], (1, 2), {2: 5_000})
