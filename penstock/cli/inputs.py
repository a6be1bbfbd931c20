"""How is `--input` read? JSON as it stands, @FILE, or - for stdin; checked here, so that mistakes show their place."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from penstock.client.uuid7 import uuid7
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.ids import check_workflow_id

_WORDS = re.compile(r"[^\W\d_][\w .,@/+-]{0,60}")  # such as Ann, order-7 or ann@example.com: meant as a text
LINES_SUFFIXES = (".jsonl", ".ndjson")


def read_input(said: str | None) -> bytes:
    """One value as JSON bytes; `null` when nothing was said. Raises BadInput."""
    if said is None:
        return b"null"
    if said == "-":
        return checked(sys.stdin.buffer.read(), "stdin")
    if said.startswith("@"):
        return checked(_file(said[1:]), said[1:])
    try:
        return checked(said.encode(), "the input")
    except BadInput as error:
        if not _WORDS.fullmatch(said):
            raise
        raise BadInput(f"{str(error).removesuffix('.')}; a text is written '\"{said}\"'.") from error


def is_lines(said: str | None) -> bool:
    """Whether the input is a file of one value per line."""
    return said is not None and said.startswith("@") and said.endswith(LINES_SUFFIXES)


def read_lines(said: str, id_field: str | None) -> list[tuple[bytes, str]]:
    """(value as JSON bytes, id) of each line that is not empty: the id is in `id_field`, or random.

    Raises BadInput, BadName for the first line that is wrong, so that nothing is started from a bad file.
    """
    try:
        return list(_lines(_file(said[1:]), said[1:], id_field))
    except (BadInput, BadName) as error:
        raise type(error)(f"{str(error).removesuffix('.')}; nothing was started.") from error


def checked(data: bytes, where: str) -> bytes:
    """The data, if it is one JSON value. Raises BadInput with line and column."""
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
        raise BadInput(f"{where} has no text or whole number under {field!r}, the field that --id-field names.")
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
    raise ValueError(f"{constant} is no JSON number")


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"the input file {path} cannot be read: {error.strerror or error}.") from error
