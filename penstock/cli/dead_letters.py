"""What could nobody use? `dead-letters list|show|replay|discard`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.session import Session, output_option, verb, with_global_options

if TYPE_CHECKING:
    from penstock.client.dead_letters import Letter
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Log

places_argument = click.argument("places", nargs=-1, metavar="[PARTITION/OFFSET…]")
all_option = click.option("--all", "all_", is_flag=True, help="All letters that were not dealt with yet.")


@click.group("dead-letters")
@with_global_options
def dead_letters() -> None:
    """Records that nobody could use: whole, with where they lay and why."""


@verb("list")
@click.option("--done", is_flag=True, help="Also those that were replayed or discarded.")
@output_option
def list_letters(session: Session, *, done: bool, output: str) -> None:
    """List the dead letters that were not dealt with yet."""
    from penstock.cli.output import print_json, print_table
    from penstock.client.dead_letters import letters

    with _connected(session) as (log, topics):
        found = [letter for letter in letters(log, topics) if done or not letter.done]
    if output == "json":
        print_json([_told(letter) for letter in found])
    elif not found:
        click.echo("no dead letters", err=True)
    else:
        rows = [
            (one.place, one.done or one.letter.reason, _origin(one), _text(one.letter.key), one.letter.message)
            for one in found
        ]
        print_table(("LETTER", "REASON", "LAY AT", "KEY", "MESSAGE"), rows)


@verb("show")
@click.argument("place", metavar="PARTITION/OFFSET")
@output_option
def show(session: Session, place: str, output: str) -> None:
    """Show one dead letter with its bytes."""
    from penstock.cli.output import print_json
    from penstock.client.dead_letters import letter_at

    with _connected(session) as (log, topics):
        letter = letter_at(log, topics, place)
    if output == "json":
        print_json(_told(letter))
        return
    for name, value in _told(letter).items():
        click.echo(f"{name:<9}  {value}")


@verb("replay")
@places_argument
@all_option
def replay(session: Session, places: tuple[str, ...], *, all_: bool) -> None:
    """Send dead letters again to the topic they came from, now that what was wrong is mended."""
    from penstock.client.dead_letters import replay as replay_letters

    with _connected(session) as (log, topics):
        chosen = _chosen(log, topics, places, all_=all_)
        replay_letters(log, topics, chosen)
    click.echo(f"{len(chosen)} replayed", err=True)


@verb("discard")
@places_argument
@all_option
def discard(session: Session, places: tuple[str, ...], *, all_: bool) -> None:
    """Set dead letters aside; their bytes stay until the topic's retention ends."""
    from penstock.client.dead_letters import discard as discard_letters

    with _connected(session) as (log, topics):
        chosen = _chosen(log, topics, places, all_=all_)
        discard_letters(log, topics, chosen)
    click.echo(f"{len(chosen)} discarded", err=True)


for command in (list_letters, show, replay, discard):
    dead_letters.add_command(command)


def _chosen(log: Log, topics: Topics, places: tuple[str, ...], *, all_: bool) -> list[Letter]:
    from penstock.client.dead_letters import letter_at, letters

    if all_ == bool(places):
        raise click.UsageError("Name the letters as PARTITION/OFFSET, or say --all.")
    if all_:
        return [letter for letter in letters(log, topics) if not letter.done]
    return [letter_at(log, topics, place) for place in places]


@contextmanager
def _connected(session: Session) -> Iterator[tuple[Log, Topics]]:
    from penstock.client.client import existing_log
    from penstock.topics.catalogue import Topics

    log = existing_log(session.settings)
    try:
        yield log, Topics(session.settings.namespace, session.settings.prefix)
    finally:
        log.close()


def _told(one: Letter) -> dict[str, Any]:
    letter = one.letter
    at = datetime.fromtimestamp(letter.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "letter": one.place,
        "reason": letter.reason,
        "message": letter.message,
        "done": one.done,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "at": at,
        "key": _text(letter.key),
        "value": _text(letter.value),
    }


def _origin(one: Letter) -> str:
    return f"{one.letter.topic}[{one.letter.partition}]@{one.letter.offset}"


def _text(data: bytes) -> str:
    """Bytes for reading: as text when they are, otherwise with escapes."""
    return data.decode("utf-8", errors="backslashreplace")
