"""Tests of versions of one workflow type side by side."""

from __future__ import annotations

import math
from typing import Any

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import info
from penstock.engine.authoring.definition import WorkflowDefinition, registered_workflows
from penstock.engine.authoring.handlers import Query
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.versions import WorkflowTypes, chosen, takeable
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.values.levels import LEVEL
from tests.engine.stage import Stage

go = Signal("versions-go", int)
which = Query("versions-which", returns=str)


@workflow(name="versions-both", version=1)
async def first(number: int) -> str:
    which.answer(lambda: "first")
    return f"first {number + await go.wait()}"


@workflow(name="versions-both", version=2)
async def second(number: int) -> str:
    which.answer(lambda: "second")
    await go.wait()
    return f"second {number + await go.wait()}"


@workflow(name="versions-parent")
async def parent(version: int) -> str:
    return await first(1).options(id="child", version=version or None)


@workflow(name="versions-again", version=1)
async def again(left: int, to: int) -> int:
    await go.wait()
    if left:
        call = again(left - 1, to)
        continue_as_new(call.options(version=to) if to else call)
    return info().version


@workflow(name="versions-again", version=2)
async def again_anew(left: int, to: int) -> int:
    return 100 * info().version + left + to


@workflow(name="versions-nested", version=1)
async def nested(left: int) -> list[int]:
    return [info().version, *(await nested(left - 1).options(id="inner") if left else [])]


@workflow(name="versions-nested", version=2)
async def nested_anew(left: int) -> list[int]:
    return [-left]


def start(stage: Stage, version: int = 0, id: str = "run-1") -> Any:
    command = StartWorkflow(
        workflow_id=id, workflow_type="versions-both", input=b"1", message_id=id, version=version, reply_to=0
    )
    stage.tell(command)
    (reply,) = stage.take("replies")
    return reply


def test_new_runs_take_the_highest_version() -> None:
    """Of two versions that are hosted side by side, a start takes the higher one."""
    stage = Stage(second, first)
    start(stage)
    assert (stage.described()["version"], stage.history()[0]["version"]) == (2, 2)


def test_a_run_keeps_its_version() -> None:
    """A run goes on with the code of the version that it began with, after a restart as well, beside a higher one."""
    stage = Stage(first)
    start(stage)
    stage.restart(first, second)
    start(stage, id="run-2")
    stage.restart(first, second)
    assert stage.query("versions-which").result == b'"first"'
    stage.signal("versions-go", 41)
    assert (stage.described()["result"], stage.described("run-2")["version"]) == ("first 42", 2)


def test_a_start_names_its_version() -> None:
    """An explicit version wins over the highest one."""
    stage = Stage(first, second)
    start(stage, version=1)
    assert stage.described()["version"] == 1


def test_a_start_of_an_unknown_version_is_refused() -> None:
    """The refusal of a version that no live processor hosts lists those that are hosted."""
    stage = Stage(first, second)
    reply = start(stage, version=3)
    assert (reply.reason, reply.message) == (
        "unknown_type",
        "No processor of this namespace hosts version 3 of versions-both; hosted: 1, 2.",
    )


def test_a_start_of_a_version_that_others_host_waits() -> None:
    """A start of a version that another live processor hosts is accepted, waits, and runs there by itself."""
    stage = Stage(first)
    stage.nodes[0].runs.hosted.note_others({"versions-both": 2}, LEVEL)
    assert start(stage, version=2).status == "waiting"
    stage.restart(first, second)
    for _ in range(2):
        stage.signal("versions-go", 1)
    assert stage.described()["result"] == "second 2"


@pytest.mark.parametrize(
    ("elsewhere", "status", "reason", "part"),
    [
        (
            {},
            "blocked",
            "unknown_version",
            "hosts version 1 of versions-both (hosted: 2)",
        ),
        ({"versions-both": 1}, "waiting", "unhosted_type", "has no version 1 of versions-both (it has 2)"),
    ],
)
def test_a_run_whose_version_is_gone_waits(elsewhere: Any, status: str, reason: str, part: str) -> None:
    """Without code of its version a run waits, says which versions are hosted, and goes on when its code is back."""
    stage = Stage(first, second)
    start(stage, version=1)
    stage.restart(second)
    stage.nodes[0].runs.hosted.note_others(elsewhere, LEVEL)
    stage.signal("versions-go", 41)
    described = stage.described()
    assert (described["status"], described["blocked_reason"], part in described["blocked_message"]) == (
        status,
        reason,
        True,
    )
    stage.restart(first, second)
    assert stage.described()["result"] == "first 42"


def test_new_runs_take_a_version_that_all_have() -> None:
    """While another live processor lacks the highest version, new runs take the one below, which it has too."""
    stage = Stage(first, second)
    hosted = stage.nodes[0].runs.hosted
    versions = {"versions-both": frozenset({1, 2})}
    hosted.note_others({"versions-both": 2}, LEVEL, versions, {"versions-both": frozenset({1})})
    start(stage)
    hosted.note_others({"versions-both": 2}, LEVEL, versions, versions)
    start(stage, id="run-2")
    assert (stage.described()["version"], stage.described("run-2")["version"]) == (1, 2)


def test_new_runs_take_the_own_version_if_none_is_common() -> None:
    """Where the other processors share no version with this one, new runs take its own highest."""
    stage = Stage(first, second)
    stage.nodes[0].runs.hosted.note_others({"versions-both": 3}, LEVEL)
    start(stage)
    assert stage.described()["version"] == 2


@pytest.mark.parametrize(("given", "taken"), [(0, 2), (1, 1)])
def test_a_child_takes_the_version_that_it_is_given(given: int, taken: int) -> None:
    """A child takes the version that its parent names, else that of new runs."""
    stage = Stage(parent, first, second)
    stage.start(parent, given)
    assert stage.described("child")["version"] == taken


def test_a_child_of_the_same_type_takes_its_parent_s_version() -> None:
    """A run hands its version to a child of its own type."""
    stage = Stage(nested)
    stage.tell(StartWorkflow(workflow_id="run-1", workflow_type="versions-nested", input=b"1", message_id="m"))
    stage = Stage(nested, nested_anew)
    command = StartWorkflow(workflow_id="run-1", workflow_type="versions-nested", input=b"1", message_id="m", version=1)
    stage.tell(command)
    assert stage.described()["result"] == [1, 1]


@pytest.mark.parametrize(("to", "result"), [(0, 1), (2, 202)])
def test_a_chain_hands_its_version_on(to: int, result: int) -> None:
    """A run that continues as new hands its version on, unless it names another."""
    stage = Stage(again, again_anew)
    data = b'{"left": 1, "to": %d}' % to
    stage.tell(
        StartWorkflow(workflow_id="run-1", workflow_type="versions-again", input=data, message_id="m", version=1)
    )
    stage.signal("versions-go", 1)
    stage.advance(1)
    stage.signal("versions-go", 1)
    assert stage.described()["result"] == result


def test_two_versions_with_one_number_are_refused() -> None:
    """Two workflows of one name and version are an error that says what to change."""
    before = registered_workflows()

    async def other(number: int) -> str:
        return str(number)

    with pytest.raises(BadName, match="Two workflows are called 'versions-both' in version 2") as caught:
        workflow(name="versions-both", version=2)(other)
    assert "or another version with @workflow(version=…)." in str(caught.value)
    assert registered_workflows().of("versions-both") == before.of("versions-both")


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.5, 1_000_000_001])
def test_a_version_is_a_positive_number(version: Any) -> None:
    """Another version is refused where it is written."""
    with pytest.raises(BadInput, match="whole number from 1 to"):
        workflow(name="versions-bad", version=version)
    call = first(1)
    with pytest.raises(BadInput, match="whole number from 1 to"):
        call.options(version=version)
    call.claim()


def test_a_lookup_by_version() -> None:
    """A type is found in each of its versions, and in no other; without a version, in the highest."""
    hosted: Hosted = Hosted(WorkflowTypes[WorkflowDefinition[Any, Any]]([first, second]))
    found = [hosted.workflow("versions-both", version) for version in (0, 1, 2, 3)]
    assert found == [second, first, second, None]


def test_a_share_takes_about_its_part_of_the_ids() -> None:
    """A share of 10 % takes about a tenth of the ids, and each of them under a larger share too."""
    ids = [f"order-{n}" for n in range(10_000)]
    few = {id for id in ids if chosen("t", [1, 2], id, {2: 1_000}) == 2}
    more = {id for id in ids if chosen("t", [1, 2], id, {2: 3_000}) == 2}
    assert 900 < len(few) < 1_100
    assert few < more


def test_no_share_and_a_whole_one() -> None:
    """A share of nothing takes no id, one of everything takes each; the lowest version takes what is left."""
    ids = [f"order-{n}" for n in range(1_000)]
    assert {chosen("t", [1, 2, 3], id, {3: 0, 2: 10_000}) for id in ids} == {2}
    assert {chosen("t", [1, 2, 3], id, {3: 0, 2: 0, 1: 0}) for id in ids} == {1}


@pytest.mark.parametrize("versions", [(1, 2), (1, 2, 3), (2, 7)])
def test_a_growing_share_moves_ids_up_alone(versions: tuple[int, ...]) -> None:
    """As the share of the highest version grows, ids only move to it, and each at one share; it takes its part of them
    within four standard deviations, and what it leaves does not depend on it."""
    ids = [f"order-{n}" for n in range(4_000)]
    highest, *lower = sorted(versions, reverse=True)
    below = {id: chosen("t", lower, id, {lower[0]: 4_000}) for id in ids}
    before: set[str] = set()
    for share in (0, 1, 100, 1_000, 2_500, 5_000, 9_000, 9_999, 10_000):
        found = {id: chosen("t", versions, id, {highest: share, lower[0]: 4_000}) for id in ids}
        taken = {id for id in ids if found[id] == highest}
        part = share / 10_000
        assert abs(len(taken) - 4_000 * part) <= 4 * math.sqrt(4_000 * part * (1 - part))
        assert before <= taken
        assert all(found[id] == below[id] for id in ids if id not in taken)
        before = taken


def test_types_and_versions_take_their_parts_independently() -> None:
    """Of the ids that one version takes, another, and the same of another type, takes its share as of any ids."""
    ids = [f"order-{n}" for n in range(10_000)]
    halves = [
        {id for id in ids if chosen(name, [1, version], id, {version: 5_000}) == version}
        for name, version in (("t", 2), ("t", 3), ("u", 2))
    ]
    for other in halves[1:]:
        assert 2_300 < len(halves[0] & other) < 2_700


def test_the_versions_that_new_runs_may_take() -> None:
    """They are those that some id takes: from the highest down to one without a share, but for those with 0."""
    cases = [({}, [3]), ({3: 0}, [2]), ({3: 5_000}, [3, 2]), ({3: 1, 2: 0}, [3, 1]), ({3: 0, 2: 0}, [1])]
    for shares, expected in cases:
        assert takeable((1, 2, 3), shares) == expected
        found = {chosen("t", (1, 2, 3), f"order-{n}", shares) for n in range(40_000 if 1 in shares.values() else 200)}
        assert found == set(expected)
