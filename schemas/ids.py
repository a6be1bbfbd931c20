"""What are things called? Names for identities, so that a run id is never handed over as a workflow id."""

from __future__ import annotations

from typing import NewType

from penstock.schemas.errors import BadName

WorkflowId = NewType("WorkflowId", str)
"""The user's business key: at most 255 bytes of UTF-8, no NUL. It is the record key of every topic."""

RunId = NewType("RunId", str)
"""One execution of a workflow id: the message id of the command that started it."""

MessageId = NewType("MessageId", str)
"""Names one message; its effect happens once."""

WORKFLOW_ID_BYTES_MAX = 255


def check_workflow_id(text: str) -> WorkflowId:
    """The text as a workflow id.

    Raises BadName when it is no text, is empty, holds a NUL or is longer than 255 bytes of UTF-8."""
    _check_text("workflow id", text)
    if not text:
        raise BadName("The workflow id is empty; give 1 to 255 bytes.")
    _check_characters("workflow id", text)
    return WorkflowId(text)


def check_message_id(text: str) -> MessageId:
    """The text as a message id, which may be empty (one is made then). Raises BadName as `check_workflow_id` does."""
    _check_characters("message id", text)
    return MessageId(text)


def check_signal_name(text: str) -> str:
    """The text as a signal's name. Raises BadName as `check_workflow_id` does."""
    _check_text("signal's name", text)
    if not text:
        raise BadName("The signal's name is empty; give the one that the workflow waits for.")
    _check_characters("signal's name", text)
    return text


def _check_text(what: str, text: object) -> None:
    """Programs without a type checker hand over numbers and UUIDs."""
    if not isinstance(text, str):
        raise BadName(f"The {what} must be a text, not {text!r} of type {type(text).__name__}; write `str(…)` of it.")


def _check_characters(what: str, text: str) -> None:
    if "\0" in text:
        raise BadName(f"The {what} {text[:40]!r} holds a NUL character; leave it out.")
    if text.isascii() and len(text) <= WORKFLOW_ID_BYTES_MAX:  # the usual id, known to fit without encoding it
        return
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadName(f"The {what} {text[:40]!r} cannot be written as UTF-8.") from error
    if size > WORKFLOW_ID_BYTES_MAX:
        raise BadName(f"The {what} {text[:40]!r}… is {size} bytes long; at most {WORKFLOW_ID_BYTES_MAX} are allowed.")
