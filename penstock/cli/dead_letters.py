"""Verbs for dead letters: `dead-letters list|show|replay|discard`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.command import Invocation, opened_log, output_option, verb, with_global_options

if TYPE_CHECKING:
    from penstock.client.dead_letters import Letter
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Log

positions_argument = click.argument("positions", nargs=-1, metavar="[PARTITION/OFFSET…]")
all_option = click.option("--all", "all_", is_flag=True, help="All letters that were neither replayed nor discarded.")


@click.group("dead-letters")
@with_global_options
def dead_letters() -> None:
    """Records that could not be processed, with their origin and the reason."""


@verb("list")
@click.option("--done", is_flag=True, help="Include those that were replayed or discarded.")
@output_option
def list_letters(invocation: Invocation, *, done: bool, output: str) -> None:
    """List the dead letters that were neither replayed nor discarded."""
    from penstock.cli.output import print_json, print_table
    from penstock.client.dead_letters import letters

    with opened_log(invocation.settings, must_exist=True) as (log, topics):
        found = [letter for letter in letters(log, topics) if done or not letter.done]
    if output == "json":
        print_json([_as_json(letter) for letter in found])
    elif not found:
        click.echo("no dead letters", err=True)
    else:
        rows = [
            (
                letter.position,
                letter.done or letter.letter.reason,
                _origin(letter),
                _text(letter.letter.key),
                letter.letter.message,
            )
            for letter in found
        ]
        print_table(("LETTER", "REASON", "ORIGIN", "KEY", "MESSAGE"), rows)


@verb("show")
@click.argument("position", metavar="PARTITION/OFFSET")
@output_option
def show(invocation: Invocation, position: str, output: str) -> None:
    """Show one dead letter with its bytes."""
    from penstock.cli.output import print_json
    from penstock.client.dead_letters import letter_at

    with opened_log(invocation.settings, must_exist=True) as (log, topics):
        letter = letter_at(log, topics, position)
    if output == "json":
        print_json(_as_json(letter))
        return
    for name, value in _as_json(letter).items():
        click.echo(f"{name:<9}  {value}")


@verb("replay")
@positions_argument
@all_option
def replay(invocation: Invocation, positions: tuple[str, ...], *, all_: bool) -> None:
    """Send dead letters again to their original topic, after the cause was corrected."""
    from penstock.client.dead_letters import replay as replay_letters

    with opened_log(invocation.settings, must_exist=True) as (log, topics):
        chosen = _chosen(log, topics, positions, all_=all_)
        replay_letters(log, topics, chosen)
    click.echo(f"{len(chosen)} replayed", err=True)


@verb("discard")
@positions_argument
@all_option
def discard(invocation: Invocation, positions: tuple[str, ...], *, all_: bool) -> None:
    """Mark dead letters as discarded; their bytes stay until the topic's retention ends."""
    from penstock.client.dead_letters import discard as discard_letters

    with opened_log(invocation.settings, must_exist=True) as (log, topics):
        chosen = _chosen(log, topics, positions, all_=all_)
        discard_letters(log, topics, chosen)
    click.echo(f"{len(chosen)} discarded", err=True)


for command in (list_letters, show, replay, discard):
    dead_letters.add_command(command)


def _chosen(log: Log, topics: Topics, positions: tuple[str, ...], *, all_: bool) -> list[Letter]:
    from penstock.client.dead_letters import letter_at, letters

    if all_ == bool(positions):
        raise click.UsageError("Give the letters as PARTITION/OFFSET, or use --all.")
    if all_:
        return [letter for letter in letters(log, topics) if not letter.done]
    return [letter_at(log, topics, position) for position in positions]


def _as_json(found: Letter) -> dict[str, Any]:
    letter = found.letter
    at = datetime.fromtimestamp(letter.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "letter": found.position,
        "reason": letter.reason,
        "message": letter.message,
        "done": found.done,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "at": at,
        "key": _text(letter.key),
        "value": _text(letter.value),
    }


def _origin(found: Letter) -> str:
    return f"{found.letter.topic}[{found.letter.partition}]@{found.letter.offset}"


def _text(data: bytes) -> str:
    """Decode UTF-8; other bytes become escapes."""
    return data.decode("utf-8", errors="backslashreplace")
