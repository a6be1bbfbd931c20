"""Options of the verb `start`: those of `Client.start`, as a command line gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

from penstock.cli.inputs import read_input
from penstock.schemas.encoding.json_command import ON_EXISTING
from penstock.schemas.errors import BadInput

F = TypeVar("F", bound=Callable[..., Any])

UNLIMITED = "unlimited"
RETRIES_DIGITS_MAX = 9

_OPTIONS = (
    click.option(
        "--on-existing", type=click.Choice(ON_EXISTING), default="use_existing", show_default=True,
        help="What to do if the id is taken.",
    ),
    click.option("--memo", metavar="JSON|@FILE", help="Values that go along with the run: a JSON object."),
    click.option(
        "--search", metavar="JSON|@FILE",
        help='Search attributes: a JSON object; a moment in it is {"datetime": "2026-11-26T10:00:00Z"}.',
    ),
    click.option("--header", "headers", metavar="NAME=TEXT", multiple=True, help="Header of the run; repeatable."),
    click.option("--version", type=int, metavar="N", help="Version of the type; by default the one of new runs."),
    click.option("--start-delay", metavar="DURATION", help="How long after the start its code begins."),
    click.option("--run-timeout", metavar="DURATION", help="Time after which a run fails."),
    click.option("--execution-timeout", metavar="DURATION", help="Time after which a chain of runs fails."),
    click.option("--retries", metavar="N", help="How often a run that fails is tried again, or `unlimited`."),
    click.option("--backoff", metavar="FACTOR|DURATIONS", help="Delays of retries: a factor, or delays as 1s,10s,1m."),
)  # fmt: skip


def start_options(function: F) -> F:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as keywords of `Client.start_by_name`. Raises BadInput."""
    from penstock.schemas.values.attributes import decode_memo, read_search

    keywords: dict[str, Any] = {
        name: given[name] for name in ("on_existing", "start_delay", "run_timeout", "execution_timeout", "version")
    }
    keywords["headers"] = _headers(given["headers"])
    if given["memo"] is not None:
        keywords["memo"] = decode_memo(read_input(given["memo"]))
    if given["search"] is not None:
        keywords["search"] = read_search(read_input(given["search"]))
    if given["retries"] is not None:
        keywords["retries"] = retries_of(given["retries"])
    if given["backoff"] is not None:
        keywords["backoff"] = backoff_of(given["backoff"])
    return keywords


def _headers(given: Sequence[str]) -> dict[str, str]:
    headers = {}
    for header in given:
        name, equals, text = header.partition("=")
        if not (name and equals):
            raise BadInput(f"--header {header!r} is no NAME=TEXT.")
        headers[name] = text
    return headers


def retries_of(text: str) -> int | None:
    """The number of `--retries`, None for any number. Raises BadInput."""
    if text == UNLIMITED:
        return None
    if not text.isdecimal() or len(text) > RETRIES_DIGITS_MAX:
        raise BadInput(f"--retries {text!r} is invalid: give 0 or more, or `{UNLIMITED}`.")
    return int(text)


def backoff_of(text: str) -> float | list[str]:
    """The factor, or the delays, of `--backoff`."""
    try:
        return msgspec.convert(text, float, strict=False)
    except msgspec.ValidationError:
        return [delay.strip() for delay in text.split(",")]
