"""Tests of commands in JSON, and of messages for invalid ones."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.encoding.codec import decode_command, encode
from penstock.schemas.errors import Undecodable
from penstock.schemas.records.child import ResolveChild
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.schedule import CreateSchedule
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.retry import RetryPolicy
from penstock.schemas.values.schedule_spec import ScheduleSpec
from tests.schemas.samples import SEEDED

START = {"type": "fulfil", "id": "order-7"}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            b'{"type":"fulfil","id":"order-7","input":{"id":"order-7","total":12.5,"items":["a"]}}',
            StartWorkflow(
                workflow_id="order-7", workflow_type="fulfil", input=b'{"id":"order-7","total":12.5,"items":["a"]}'
            ),
        ),
        (
            b'{"command":"SignalWorkflow","id":"order-7","signal":"approval","input":{"ok":true,"by":"ann"}}',
            SignalWorkflow(workflow_id="order-7", signal="approval", input=b'{"ok":true,"by":"ann"}'),
        ),
    ],
)
def test_the_documented_lines(line, command):
    """The two documented lines decode to the documented commands."""
    assert decode_command(line) == command
    assert decode_command(line + b"\n") == command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            {"command": "StartWorkflow", **START, "message_id": "m", "reply_to": 2, "on_existing": "reject"},
            StartWorkflow(
                workflow_id="order-7",
                workflow_type="fulfil",
                input=b"null",
                message_id="m",
                reply_to=2,
                on_existing="reject",
            ),
        ),
        (
            {
                "command": "CreateSchedule",
                "id": "schedule:nightly",
                "type": "report",
                "spec": {"cron": ["0 2 * * *"], "timezone": "Europe/Prague", "overlap": "buffer_one"},
            },
            CreateSchedule(
                workflow_id="schedule:nightly",
                workflow_type="report",
                input=b"null",
                spec=ScheduleSpec(cron=("0 2 * * *",), timezone="Europe/Prague", overlap="buffer_one"),
            ),
        ),
        (
            {"command": "SignalWorkflow", "id": "w", "signal": "go", "run_id": "r"},
            SignalWorkflow(workflow_id="w", signal="go", input=b"null", run_id="r"),
        ),
        (
            {"command": "CancelWorkflow", "id": "w", "reason": "late", "run_id": "r"},
            CancelWorkflow(workflow_id="w", reason="late", run_id="r"),
        ),
        (
            {"command": "TerminateWorkflow", "id": "w", "reason": "late"},
            TerminateWorkflow(workflow_id="w", reason="late"),
        ),
        ({"command": "UnblockWorkflow", "id": "w"}, UnblockWorkflow(workflow_id="w")),
        ({"command": "AwaitResult", "id": "w", "reply_to": 0}, AwaitResult(workflow_id="w", reply_to=0)),
        (
            {**START, "headers": {"a": "1"}, "run_timeout_ms": 5, "retry": {"retries_max": 2}},
            StartWorkflow(
                workflow_id="order-7",
                workflow_type="fulfil",
                input=b"null",
                headers={"a": "1"},
                run_timeout_ms=5,
                retry=RetryPolicy(retries_max=2),
            ),
        ),
        (
            {**START, "memo": {"by": "ann"}, "search": {"due": {"datetime": "2026-11-26T10:00:00Z"}}},
            StartWorkflow(
                workflow_id="order-7",
                workflow_type="fulfil",
                input=b"null",
                memo=b'{"by": "ann"}',
                search=b'{"due": {"datetime": "2026-11-26T10:00:00Z"}}',
            ),
        ),
    ],
)
def test_every_command_in_json(line, command):
    """Each public command has a JSON form; defaults are those of Avro, and a missing input is `null`."""
    assert decode_command(json.dumps(line).encode()) == command


@pytest.mark.parametrize("text", ["12345678901234567890123", "1e-7", '"é\\u00e9"', " [1 , 2] ", "null"])
def test_input_stays_as_written(text):
    """Input is not rewritten: numbers keep their digits, texts their escapes."""
    command = decode_command(f'{{"type":"t","id":"i","input":{text}}}'.encode())
    assert command.input.strip() == text.strip().encode()


@SEEDED
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_json_is_an_input(value):
    """Any JSON value may be an input."""
    command = decode_command(json.dumps({**START, "input": value}).encode())
    assert json.loads(command.input) == value


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"id": "w"}, "StartWorkflow needs the key `type`: the workflow type, a non-empty text."),
        ({"type": "t"}, "StartWorkflow needs the key `id`: the workflow id, a text of 1 to 255 bytes."),
        ({"type": "t", "id": ""}, "StartWorkflow: `id` is empty; it must be the workflow id"),
        ({"type": "", "id": "w"}, "StartWorkflow: `type` is empty; it must be the workflow type"),
        ({"type": "t", "id": 7}, "StartWorkflow: `id` must be the workflow id, a text of 1 to 255 bytes, not 7."),
        (
            {"type": ["t"], "id": "w"},
            'StartWorkflow: `type` must be the workflow type, a non-empty text, not ["t"].',
        ),
        ({"type": None, "id": "w"}, "`type` must be the workflow type, a non-empty text, not null."),
        ({**START, "id": "a\0b"}, "contains a NUL character"),
        ({**START, "id": "é" * 128}, "is 256 bytes long; at most 255 are allowed."),
        ({**START, "message_id": "a\0b"}, "The message id 'a\\x00b' contains a NUL character"),
        (
            {**START, "typ": "x"},
            (
                "StartWorkflow has no key `typ`; allowed are command, id, message_id, reply_to, type, input, "
                "on_existing, run_timeout_ms, execution_timeout_ms, retry, headers, start_delay_ms, await_result, "
                "await_ms, signal, update, handed, memo, search, version."
            ),
        ),
        ({**START, "reason": "x"}, "StartWorkflow has no key `reason`"),
        ({**START, "workflow_id": "x"}, "StartWorkflow has no key `workflow_id`"),
        ({**START, "reply_to": "1"}, '`reply_to` must be the number of a partition of the topic of replies, not "1".'),
        ({**START, "reply_to": 1.5}, "`reply_to` must be the number"),
        ({**START, "reply_to": -2}, "`reply_to` must be a partition, or -1 for no reply, not -2."),
        ({**START, "reply_to": 2**80}, "`reply_to` must be a partition, or -1 for no reply"),
        (
            {**START, "on_existing": "replace"},
            (
                "`on_existing` must be one of use_existing, reject, restart_closed, terminate_existing, "
                "restart_failed, not `replace`."
            ),
        ),
        (
            {"command": "Start", **START},
            (
                "The command `Start` is unknown; allowed are StartWorkflow, SkipActivity, ChangeActivity, "
                "CompleteActivity, FailActivity, HeartbeatActivity, PauseWorkflow, "
                "ResumeWorkflow, QueryWorkflow, DescribeWorkflow, "
                "ReadHistory, ListWorkflows, ResetWorkflow, RetryWorkflow, DeleteWorkflow, ImportWorkflow, "
                "CancelWorkflow, TerminateWorkflow, "
                "UnblockWorkflow, AwaitResult, "
                "CreateSchedule, UpdateSchedule, PauseSchedule, ResumeSchedule, TriggerSchedule, BackfillSchedule, "
                "DeleteSchedule, DescribeSchedule, ListSchedules, SetVersionShare, ListVersionShares, "
                "SignalWorkflow, UpdateWorkflow."
            ),
        ),
        ({"command": "ListWorkflows", "id": "w"}, "ListWorkflows has no key `id`"),
        ({"command": "ResolveChild", "id": "w"}, "The command `ResolveChild` is unknown"),
        ({"command": 7, "id": "w"}, "`command` must be one of StartWorkflow"),
        ({"command": "SignalWorkflow", "id": "w"}, "SignalWorkflow needs the key `signal`: the signal's name"),
        ({"command": "SignalWorkflow", "id": "w", "signal": ""}, "SignalWorkflow: `signal` is empty"),
        ({"command": "CancelWorkflow", "id": "w", "input": 1}, "CancelWorkflow has no key `input`"),
        ({"command": "CreateSchedule", "id": "schedule:s", "type": "t"}, "CreateSchedule needs the key `spec`"),
        (
            {"command": "CreateSchedule", "id": "schedule:s", "type": "t", "spec": {"tz": "UTC"}},
            "CreateSchedule: `spec` has no key `tz`; allowed are cron, calendar, every_ms, timezone",
        ),
        (
            {"command": "CreateSchedule", "id": "schedule:s", "type": "t", "spec": {"cron": "* * * * *"}},
            "`spec` must be an object with cron, calendar or every_ms",
        ),
        ({"command": "PauseSchedule", "id": ""}, "PauseSchedule: `id` is empty"),
        ({**START, "parent_run_id": "r"}, "StartWorkflow has no key `parent_run_id`"),
        ({**START, "headers": {"a": 1}}, "`headers` must be an object whose values are texts"),
    ],
)
def test_mistakes(line, sentence):
    """Each mistake gives a message that names the key and its allowed values."""
    with pytest.raises(Undecodable) as raised:
        decode_command(json.dumps(line).encode())
    assert sentence in raised.value.detail


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{'id':'w'}",
        b'{"id":"w","type":"t",}',
        b'{"id":"w","type":"t"}{"id":"w"}',
        b'{"id":"w","type":"t","input":tru}',
        b'{"id":"w","type":"t","input":NaN}',
        b'{"id":"w","type":"t","input":"\xff"}',
        b'{"id":"w","type":"t","input":' + b"[" * 100_000,
        b'{"id":"w","type":"t","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=range(9),
)
def test_what_is_no_json(data):
    """Malformed or too deeply nested JSON is undecodable, and the message says so."""
    with pytest.raises(Undecodable, match="begins like JSON but is not valid"):
        decode_command(data)


@SEEDED
@given(
    st.dictionaries(
        st.sampled_from(["command", "id", "type", "signal", "input", "reply_to", "on_existing", "run_id", "x"]),
        st.none() | st.integers() | st.sampled_from(["", "w", "StartWorkflow", "AwaitResult"]) | st.lists(st.none()),
    )
)
def test_any_object(line):
    """Any JSON object is a command or undecodable, and a command can be encoded as Avro."""
    try:
        command = decode_command(json.dumps(line).encode())
    except Undecodable:
        return
    assert decode_command(encode(command)) == command


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"workflow_id": ""}, "The workflow id is empty"),
        ({"workflow_id": "a\0"}, "contains a NUL"),
        ({"workflow_id": "x" * 256}, "at most 255"),
        ({"message_id": "x" * 256}, "at most 255"),
        ({"on_existing": "replace"}, "`on_existing` must be one of"),
        ({"reply_to": -2}, "`reply_to` must be a partition"),
    ],
)
def test_avro_commands_obey_the_same_rules(change, sentence):
    """A command in Avro with an invalid id or choice is undecodable too."""
    command = StartWorkflow(workflow_id="w", workflow_type="t", input=b"null")
    assert decode_command(encode(command)) == command
    with pytest.raises(Undecodable, match=sentence):
        decode_command(encode(msgspec.structs.replace(command, **change)))


def test_an_avro_signal_needs_a_name():
    """A signal in Avro with an empty or too long name is undecodable, as in JSON."""
    for name, fault in (("", "The signal's name is empty"), ("x" * 256, "is 256 bytes long")):
        command = SignalWorkflow(workflow_id="w", signal=name, input=b"null")
        with pytest.raises(Undecodable, match=f"SignalWorkflow: .*{fault}"):
            decode_command(encode(command))


def test_resolve_child_comes_in_avro():
    """ResolveChild, sent between shards, is a command in Avro."""
    command = ResolveChild(
        workflow_id="w", run_id="r", sequence=1, child_workflow_id="c", child_run_id="cr", status="completed"
    )
    assert decode_command(encode(command)) == command
