"""Tests of results, outcomes and refusals as values and errors."""

import pytest

from penstock.client.outcome import failure_text, refusal_of, result_of
from penstock.schemas.errors import (
    BadInput,
    CommandRejected,
    UnknownWorkflowType,
    WorkflowAlreadyClosed,
    WorkflowAlreadyExists,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowNotFound,
    WorkflowTerminatedError,
)
from penstock.schemas.failure import Cause, Failure
from penstock.schemas.records.replies import Rejected, RunClosed
from penstock.schemas.values.payload import adapter_for


def closed(status, result=b"", failure=None):
    return RunClosed(message_id="m", workflow_id="order-1", run_id="r", status=status, result=result, failure=failure)


def test_a_result():
    """The result of a completed run is of its declared type."""
    assert result_of(closed("completed", b"[1,2]"), adapter_for(list[int])) == [1, 2]


def test_a_result_of_another_type():
    """A result that does not fit the declared type raises an error with the run's id."""
    with pytest.raises(BadInput, match=r"^The result of order-1 does not fit int: expected `int`, got `str`\.$"):
        result_of(closed("completed", b'"one"'), adapter_for(int))


@pytest.mark.parametrize(
    ("status", "kind"),
    [("failed", WorkflowFailedError), ("cancelled", WorkflowCancelledError), ("terminated", WorkflowTerminatedError)],
)
def test_outcomes_without_result(status, kind):
    """Each other outcome raises its own error, with the fields of the failure."""
    failure = Failure(type="bank.CardDeclined", message="no funds", causes=(Cause(type="HTTPError", message="402"),))
    with pytest.raises(kind) as raised:
        result_of(closed(status, failure=failure), adapter_for(str))
    assert "CardDeclined: no funds, caused by HTTPError: 402" in str(raised.value)
    assert (raised.value.type, raised.value.message) == ("bank.CardDeclined", "no funds")
    assert raised.value.causes == failure.causes


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (None, ""),
        (Failure(type="penstock.schemas.errors.WorkflowFailedError", message="rejected by ann"), "rejected by ann"),
        (Failure(type="KeyError", message=""), "KeyError"),
        (
            Failure(type="TimeoutError", message="",
                    causes=(Cause(type="asyncio.exceptions.CancelledError", message=""),)),
            "TimeoutError, caused by CancelledError",
        ),
        (Failure(type="penstock.schemas.errors.WorkflowCancelledError", message=""), ""),
        (
            Failure(type="x.ActivityFailedError", message="no funds (CardDeclined)",
                    causes=(Cause(type="CardDeclined", message="no funds"),)),
            "CardDeclined: no funds",
        ),
        (
            Failure(type="penstock.schemas.errors.BadInput", message="It does not fit float: expected `float`.",
                    causes=(Cause(type="msgspec.ValidationError", message="Expected `float`"),)),
            "BadInput: It does not fit float: expected `float`.",
        ),
        (
            Failure(type="penstock.schemas.errors.ActivityFailedError",
                    message="The input does not fit add(a, b): expected `int`. (penstock.schemas.errors.BadInput)",
                    causes=(Cause(type="penstock.schemas.errors.BadInput",
                                  message="The input does not fit add(a, b): expected `int`."),
                            Cause(type="msgspec.ValidationError", message="Expected `int`"))),
            "BadInput: The input does not fit add(a, b): expected `int`.",
        ),
    ],
)  # fmt: skip
def test_text_of_a_failure(failure, text):
    """A failure is one line without repetition."""
    assert failure_text(failure) == text


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("already_exists", WorkflowAlreadyExists),
        ("not_found", WorkflowNotFound),
        ("already_closed", WorkflowAlreadyClosed),
        ("unknown_type", UnknownWorkflowType),
        ("bad_input", CommandRejected),
        ("a reason of a newer processor", CommandRejected),
    ],
)
def test_refusals(reason, kind):
    """Each reason has its own error; an unknown reason is CommandRejected."""
    error = refusal_of(Rejected(message_id="m", workflow_id="w", reason=reason, message="no.", run_id="r"))
    assert type(error) is kind
    assert (str(error), error.reason, error.run_id) == ("no.", reason, "r")
