"""Types of identifiers, distinct so that a run id is not accepted as a workflow id, and their validation."""

from __future__ import annotations

import re
from typing import NewType

from penstock.schemas.errors import BadInput, BadName

WorkflowId = NewType("WorkflowId", str)
"""The user's business key: at most 255 bytes of UTF-8, no NUL. It is the record key of every topic."""

MessageId = NewType("MessageId", str)
"""Id of a message, by which duplicates are recognized."""

WORKFLOW_ID_BYTES_MAX = 255

VERSION_MAX = 1_000_000_000
"""Version of a workflow type; the lowest is 1."""

SCHEDULE_PREFIX = "schedule:"
"""Beginning of the ids of schedules, which no run can have."""

QUEUE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""Name of a task queue, which is part of a topic's name."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def check_workflow_id(text: str) -> WorkflowId:
    """Validate a workflow id.

    Raises BadName if it is not a str, is empty, contains NUL, is longer than 255 bytes of UTF-8 or is a schedule's."""
    _check_text("workflow id", text)
    if text.startswith(SCHEDULE_PREFIX):
        raise BadName(reserved_id(text))
    return check_record_id(text)


def check_record_id(text: str) -> WorkflowId:
    """Validate the id that a command is addressed to: a workflow id or a schedule's. Raises BadName."""
    if not text:
        raise BadName("The workflow id is empty; give 1 to 255 bytes.")
    _check_characters("workflow id", text)
    return WorkflowId(text)


def reserved_id(text: str) -> str:
    """The refusal of a workflow id that begins as those of schedules do."""
    return f"The workflow id {text[:40]!r} begins with `{SCHEDULE_PREFIX}`, as only schedules do; choose another one."


def check_message_id(text: str) -> MessageId:
    """Validate a message id; it may be empty. Raises BadName as `check_workflow_id` does."""
    _check_characters("message id", text)
    return MessageId(text)


def check_given_message_id(text: str) -> MessageId:
    """Validate a message id that a user chose: processors replace one that is empty, or not printable.

    Raises BadName."""
    _check_text("id", text)
    if not text or not text.isprintable() or len(text) > WORKFLOW_ID_BYTES_MAX:
        raise BadName(f"The id {text[:40]!r} must have 1 to {WORKFLOW_ID_BYTES_MAX} printable characters.")
    return check_message_id(text)


def check_signal_name(text: str) -> str:
    """Validate a signal's name. Raises BadName as `check_workflow_id` does."""
    return _checked_name("signal's name", text, "waits for")


def check_query_name(text: str) -> str:
    """Validate a query's name. Raises BadName as `check_workflow_id` does."""
    return _checked_name("query's name", text, "answers")


def check_update_name(text: str) -> str:
    """Validate an update's name. Raises BadName as `check_workflow_id` does."""
    return _checked_name("update's name", text, "answers")


def check_topic(name: str) -> str:
    """Validate the name of any topic by Kafka's rules (org.apache.kafka.common.internals.Topic). Raises BadName."""
    _check_text("name of a topic", name)
    if _TOPIC.fullmatch(name) and name not in {".", ".."}:
        return name
    raise BadName(
        f"{name[:60]!r} is no name of a topic: give 1 to 249 letters, digits, full stops, hyphens and underscores."
    )


def check_version(version: object) -> int:
    """Validate the version of a workflow type. Raises BadInput."""
    if isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= VERSION_MAX:
        return version
    raise BadInput(f"The version of a workflow is a whole number from 1 to {VERSION_MAX:,}, not {version!r}.")


def _checked_name(what: str, text: str, does: str) -> str:
    _check_text(what, text)
    if not text:
        raise BadName(f"The {what} is empty; give the one that the workflow {does}.")
    _check_characters(what, text)
    return text


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):  # a number or a UUID, in programs without a type checker
        raise BadName(
            f"The {what} must be a str, not {text!r} of type {type(text).__name__}; convert it with `str(…)`."
        )


def _check_characters(what: str, text: str) -> None:
    if "\0" in text:
        raise BadName(f"The {what} {text[:40]!r} contains a NUL character; remove it.")
    if text.isascii() and len(text) <= WORKFLOW_ID_BYTES_MAX:  # the common case, without encoding it
        return
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadName(f"The {what} {text[:40]!r} cannot be encoded as UTF-8.") from error
    if size > WORKFLOW_ID_BYTES_MAX:
        raise BadName(f"The {what} {text[:40]!r}… is {size} bytes long; at most {WORKFLOW_ID_BYTES_MAX} are allowed.")
