"""Values of `--input`: JSON, @FILE, or - for stdin; checked here, so that errors name line and column."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from penstock.client.uuid7 import uuid7
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.ids import check_workflow_id

_BARE_TEXT = re.compile(r"[^\W\d_][\w .,@/+-]{0,60}")  # such as Ann, order-7 or ann@example.com: lacks its quotes
LINES_SUFFIXES = (".jsonl", ".ndjson")


def read_input(given: str | None) -> bytes:
    """Return one value as JSON bytes, `null` for None. Raises BadInput."""
    if given is None:
        return b"null"
    if given == "-":
        return checked(sys.stdin.buffer.read(), "stdin")
    if given.startswith("@"):
        return checked(_file(given[1:]), given[1:])
    try:
        return checked(given.encode(), "the input")
    except BadInput as error:
        if not _BARE_TEXT.fullmatch(given):
            raise
        raise BadInput(f"{str(error).removesuffix('.')}; write a text as '\"{given}\"'.") from error


def read_moment(given: str | None) -> datetime | None:
    """Return a moment such as 2026-11-26T10:00:00Z, None for None. Raises BadInput."""
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise BadInput(f"The moment {given[:40]!r} is not like 2026-11-26T10:00:00Z or 2026-11-26T11:00:00+01:00.")
    return moment


def is_lines(given: str | None) -> bool:
    """Return whether the input is a file with one value per line."""
    return given is not None and given.startswith("@") and given.endswith(LINES_SUFFIXES)


def read_lines(given: str, id_field: str | None) -> list[tuple[bytes, str]]:
    """Return (value as JSON bytes, id) of each line that is not empty; the id is in `id_field`, by default random.

    Raises BadInput, BadName for the first invalid line, before anything is started.
    """
    try:
        return list(_lines(_file(given[1:]), given[1:], id_field))
    except (BadInput, BadName) as error:
        raise type(error)(f"{str(error).removesuffix('.')}; nothing was started.") from error


def checked(data: bytes, where: str) -> bytes:
    """Return the data if it is one JSON value. Raises BadInput with line and column."""
    _parsed(data, where)
    return data.strip()


def _lines(data: bytes, path: str, id_field: str | None) -> Iterator[tuple[bytes, str]]:
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        value = _parsed(line, where, at_line=False)
        try:
            yield line.strip(), uuid7() if id_field is None else check_workflow_id(_id_in(value, id_field, where))
        except BadName as error:
            raise BadName(f"{where}: {error}") from error


def _id_in(value: object, field: str, where: str) -> str:
    found = value.get(field) if isinstance(value, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise BadInput(f"{where} has no text or integer in {field!r}, the field given by --id-field.")
    return str(found)


def _parsed(data: bytes, where: str, *, at_line: bool = True) -> object:
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not UTF-8 text: byte {error.start + 1} cannot be read.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if at_line else f"column {error.colno}"
        raise BadInput(f"{where} is not JSON: {error.msg} at {place}.") from error
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deeply.") from error
    except ValueError as error:
        raise BadInput(f"{where} is not JSON: {error}.") from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"the input file {path} cannot be read: {error.strerror or error}.") from error
