"""Tests of failures."""

from __future__ import annotations

import asyncio

import pytest

from penstock.schemas.encoding import codec
from penstock.schemas.errors import ActivityFailedError, BadInput
from penstock.schemas.failure import Cause, Failure
from penstock.schemas.values.failure import CAUSES_MAX, MESSAGE_CHARS_MAX, Bounds, failure_of
from penstock.schemas.values.payload import adapter_for


class CardDeclined(Exception):
    class Hard(Exception):
        pass


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "type_name"),
    [
        (ValueError("x"), "ValueError"),
        (CardDeclined("x"), f"{__name__}.CardDeclined"),
        (CardDeclined.Hard("x"), f"{__name__}.CardDeclined.Hard"),
        (asyncio.CancelledError("x"), "asyncio.exceptions.CancelledError"),
    ],
)
def test_type_and_message(error, type_name):
    """The type is the qualified name, without the module for built-in ones; the message is the exception's text."""
    failure = failure_of(raised(error))
    assert (failure.type, failure.message, failure.kind, failure.non_retryable) == (type_name, "x", "error", False)


def test_is_recognises_the_type():
    """ActivityFailed.is_ recognizes the class from a failure made by failure_of."""
    failed = ActivityFailedError(failure=failure_of(CardDeclined("no")))
    assert failed.is_(CardDeclined)
    assert not failed.is_(CardDeclined.Hard)
    assert ActivityFailedError(failure=failure_of(KeyError("k"))).is_(KeyError)


def test_kind_and_retryability_are_the_callers():
    """Kind and retryability are set by the caller."""
    failure = failure_of(TimeoutError(), kind="timeout", non_retryable=True)
    assert (failure.kind, failure.non_retryable) == ("timeout", True)


def test_causes_in_order():
    """Explicit causes come nearest first."""
    failure = failure_of(raised(ValueError("3"), raised(KeyError("2"), raised(OSError("1")))))
    assert failure.causes == (Cause(type="KeyError", message="'2'"), Cause(type="OSError", message="1"))


def test_context_counts_unless_suppressed():
    """The context is a cause too, unless suppressed by `from None`."""

    def fail(*, suppress):
        try:
            raise KeyError("inner")
        except KeyError:
            if suppress:
                raise ValueError("outer") from None
            raise ValueError("outer")  # noqa: B904 - the claim

    for suppress, causes in ((False, ["KeyError"]), (True, [])):
        with pytest.raises(ValueError, match="outer") as caught:
            fail(suppress=suppress)
        assert [cause.type for cause in failure_of(caught.value).causes] == causes


def test_members_of_a_group_are_causes():
    """The members of an exception group are causes."""
    group = ExceptionGroup("two", [KeyError("a"), ExceptionGroup("one", [OSError("b")])])
    assert [cause.type for cause in failure_of(raised(group)).causes] == ["KeyError", "ExceptionGroup", "OSError"]


def test_a_failure_from_elsewhere_stays_readable():
    """The failure of an ActivityFailed includes the failure on the worker."""
    remote = Failure(type="shop.CardDeclined", message="no funds", causes=(Cause(type="OSError", message="down"),))
    failure = failure_of(raised(ActivityFailedError(failure=remote)))
    assert failure.causes == (Cause(type="shop.CardDeclined", message="no funds"), *remote.causes)


def test_causes_are_bounded():
    """A long or cyclic chain gives at most CAUSES_MAX causes."""
    error: BaseException = ValueError("0")
    for number in range(1, 30):
        error = raised(ValueError(str(number)), error)
    assert [cause.message for cause in failure_of(error).causes] == [str(28 - at) for at in range(CAUSES_MAX)]
    tail, head = ValueError("tail"), KeyError("head")
    tail.__cause__, head.__cause__ = head, tail
    assert [cause.type for cause in failure_of(head).causes] == ["ValueError"]


def test_traceback_shows_user_code_alone():
    """Frames of user code are shown, Penstock's own and the loop's are not."""

    class Model:
        @staticmethod
        def model_validate_json(data):
            raise ValueError("the user's own check")

    async def work():
        adapter_for(Model).decode(b"1")

    with pytest.raises(BadInput) as caught:
        asyncio.run(work())
    text = failure_of(caught.value).traceback
    assert "in work" in text
    assert "in model_validate_json" in text
    assert "the user's own check" in text
    assert "schemas/values/payload.py" not in text
    assert "asyncio/runners.py" not in text


def test_traceback_without_user_code_is_whole():
    """Where all frames are Penstock's own, they are shown."""
    scope = {"__name__": "penstock.made_up"}
    exec("def fail():\n    raise ValueError('inside')", scope)
    error = None
    try:
        eval("fail()", scope)
    except ValueError as caught:
        error = caught.with_traceback(caught.__traceback__.tb_next)
    assert "in fail" in failure_of(error).traceback


def test_traceback_keeps_its_end():
    """A traceback that is too long loses its beginning, since the end names the error."""

    def deep(depth):
        if depth:
            deep(depth - 1)
        raise ValueError("the end")

    def deeper(depth):
        deep(depth) if depth % 2 else deeper(depth - 1)

    with pytest.raises(ValueError) as caught:
        deeper(60)
    text = failure_of(caught.value, bounds=Bounds(traceback_chars_max=300)).traceback
    assert len(text) == 300
    assert text.startswith("…")
    assert text.endswith("ValueError: the end\n")


def test_endless_recursion_has_a_failure():
    """A RecursionError, with its thousand frames, becomes a failure within the bounds."""

    def endless():
        endless()

    with pytest.raises(RecursionError) as caught:
        endless()
    assert len(failure_of(caught.value).traceback) <= 8_000


def test_hostile_exceptions_fit_a_record():
    """A message that raises, is too long, or is not UTF-8 still gives a record."""

    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no")

    for error in (Silent(), ValueError("x" * 100_000), ValueError("\ud800")):
        failure = failure_of(raised(error))
        assert codec.decode(codec.encode(failure)) == failure
        assert len(failure.message) <= MESSAGE_CHARS_MAX
        assert failure.message


def test_exceptions_that_refuse_to_be_read_have_a_failure():
    """An exception that cannot be printed, or whose property raises, still has a failure."""

    class Locked(Exception):
        @property
        def failure(self):
            raise RuntimeError("no")

    for error in (SyntaxError("odd", ("file", 1, 1, 7)), Locked("odd")):
        failure = failure_of(raised(error))
        assert "odd" in failure.message
        assert "in raised" in failure.traceback
        assert codec.decode(codec.encode(failure)) == failure


def test_bounds_are_the_callers():
    """Message, traceback and causes are as long as the caller's bounds, and no longer."""
    error = raised(ValueError("x" * 100), raised(KeyError("2"), raised(OSError("1"))))
    failure = failure_of(error, bounds=Bounds(message_chars_max=10, traceback_chars_max=20, causes_max=1))
    assert (len(failure.message), len(failure.traceback), len(failure.causes)) == (10, 20, 1)
