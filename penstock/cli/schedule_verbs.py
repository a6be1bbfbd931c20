"""Verbs for schedules: `schedule create|list|show|pause|resume|trigger|backfill|delete`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.command import Invocation, opened_client, output_option, verb, with_global_options
from penstock.cli.escape import escaped
from penstock.cli.inputs import read_input, read_moment
from penstock.schemas.values.schedule_spec import OVERLAPS

if TYPE_CHECKING:
    from penstock.client.client import Client
    from penstock.client.schedules import ScheduleHandle
    from penstock.schemas.values.schedule import Calendar

T = TypeVar("T")

name_argument = click.argument("name", metavar="NAME")
note_option = click.option("--note", default="", metavar="TEXT", help="Why; `schedule show` prints it.")


@click.group("schedule")
@with_global_options
def schedule() -> None:
    """Start runs by cron expressions, intervals and calendars."""


@verb("create")
@name_argument
@click.argument("type", metavar="TYPE")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Input of every run; null by default.")
@click.option("--cron", multiple=True, metavar="EXPRESSION", help="Five fields, as '30 2 * * mon-fri'; repeatable.")
@click.option("--every", metavar="DURATION", help="Interval of elapsed time, as 90m.")
@click.option(
    "--calendar",
    multiple=True,
    metavar="FIELDS",
    help="Six fields that must all match: minute, hour, day, month, weekday, year; repeatable.",
)
@click.option("--timezone", default="UTC", metavar="ZONE", show_default=True, help="For cron and calendars.")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAPS),
    default="skip",
    show_default=True,
    help="What a tick does while a run of the schedule is open.",
)
@click.option("--jitter", default="0s", metavar="DURATION", help="A run starts up to so long after its tick.")
@click.option("--catch-up", metavar="DURATION", help="Age up to which a late tick is made up for; a year by default.")
@click.option("--start", metavar="MOMENT", help="No tick before, as 2026-11-26T10:00:00Z.")
@click.option("--end", metavar="MOMENT", help="No tick after.")
@click.option("--remaining", type=click.IntRange(1), help="Number of ticks to take; all by default.")
@click.option("--paused", is_flag=True, help="Begin paused.")
@note_option
@click.option("--pause-on-failure", is_flag=True, help="Pause when a run fails.")
@click.option("--trigger", is_flag=True, help="Start a run at once, too.")
@click.option("--may-exist", is_flag=True, help="Change a schedule that is there.")
def create(
    invocation: Invocation, name: str, type: str, input_: str | None, *, trigger: bool, may_exist: bool, **given: Any
) -> None:
    """Create the schedule NAME, which starts a workflow of TYPE at each of its ticks."""
    from penstock.schemas.values.schedule import Schedule

    data = read_input(input_)
    given["calendar"] = [_calendar(text) for text in given["calendar"]]
    given["start"], given["end"] = read_moment(given["start"]), read_moment(given["end"])
    wanted = Schedule(**given)

    async def ask(client: Client) -> dict[str, Any]:
        handle = await client.schedules.create_by_name(name, type, data, wanted, trigger=trigger, may_exist=may_exist)
        return await handle.describe()

    found = _with_client(invocation, ask)
    click.echo(f"the schedule {escaped(name)} starts {escaped(type)} {_next(found)}", err=True)


@verb("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number.")
@click.option("--after", default="", metavar="NAME", help="Only names that sort after this one.")
@output_option
def list_schedules(invocation: Invocation, limit: int, after: str, output: str) -> None:
    """List schedules, sorted by name."""
    from penstock.cli.output import moment, print_json, print_table

    found = _with_client(invocation, lambda client: client.schedules.list(limit=limit, after=after))
    if output == "json":
        print_json(found)
    elif not found:
        click.echo("no schedules", err=True)
    else:
        rows = [
            (one["name"], one["type"], _when(one), moment(one["next_ms"]) or "paused" * one["paused"], one["running"])
            for one in found
        ]
        print_table(("NAME", "TYPE", "WHEN", "NEXT", "RUNNING"), rows)


@verb("show")
@name_argument
@output_option
def show(invocation: Invocation, name: str, output: str) -> None:
    """Show a schedule: its next ticks, its last runs, and what waits."""
    from penstock.cli.output import print_json

    found = _with_client(invocation, lambda client: client.schedules.get(name).describe())
    if output == "json":
        print_json(found)
        return
    click.echo(escaped(f"{found['name']}  {found['type']}  {'PAUSED' if found['paused'] else 'ACTIVE'}"))
    for label, text in _lines(found, time.time_ns() // 1_000_000):
        click.echo(f"  {label:<8}  {escaped(text)}")


@verb("pause")
@name_argument
@note_option
def pause(invocation: Invocation, name: str, note: str) -> None:
    """Pause a schedule: its ticks are dropped until it is resumed."""
    _with_schedule(invocation, name, lambda schedule: schedule.pause(note))
    click.echo(f"the schedule {escaped(name)} is paused", err=True)


@verb("resume")
@name_argument
@note_option
def resume(invocation: Invocation, name: str, note: str) -> None:
    """Resume a schedule with its next tick."""
    _with_schedule(invocation, name, lambda schedule: schedule.resume(note))
    click.echo(f"the schedule {escaped(name)} goes on", err=True)


@verb("trigger")
@name_argument
@click.option("--overlap", type=click.Choice(OVERLAPS), help="In place of the schedule's own.")
def trigger(invocation: Invocation, name: str, overlap: Any) -> None:
    """Start a run of a schedule now; prints its id."""
    run = _with_schedule(invocation, name, lambda schedule: schedule.trigger(overlap=overlap))
    if run is None:
        click.echo(f"a run of {escaped(name)} is open, so this one waits or is skipped", err=True)
    else:
        click.echo(run.id)


@verb("backfill")
@name_argument
@click.argument("start", metavar="START")
@click.argument("end", metavar="END")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAPS),
    default="buffer_all",
    show_default=True,
    help="What each run does while another one is open.",
)
def backfill(invocation: Invocation, name: str, start: str, end: str, overlap: Any) -> None:
    """Start the runs of all ticks from START to END, both included, as 2026-11-26T10:00:00Z."""
    first, last = read_moment(start), read_moment(end)
    assert first is not None and last is not None, "both are given"
    note = _with_schedule(invocation, name, lambda schedule: schedule.backfill(first, last, overlap=overlap))
    click.echo(note, err=True)


@verb("delete")
@name_argument
def delete(invocation: Invocation, name: str) -> None:
    """Delete a schedule; its open runs go on."""
    _with_schedule(invocation, name, lambda schedule: schedule.delete())
    click.echo(f"the schedule {escaped(name)} was deleted", err=True)


for command in (create, list_schedules, show, pause, resume, trigger, backfill, delete):
    schedule.add_command(command)


def _with_client(invocation: Invocation, act: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened_client(invocation.settings) as client:
            return await act(client)

    return asyncio.run(run())


def _with_schedule(invocation: Invocation, name: str, act: Callable[[ScheduleHandle], Awaitable[T]]) -> T:
    return _with_client(invocation, lambda client: act(client.schedules.get(name)))


def _calendar(text: str) -> Calendar:
    from penstock.schemas.values.cron import calendar_times
    from penstock.schemas.values.schedule import Calendar

    calendar_times(text)
    return Calendar(**dict(zip(("minute", "hour", "day", "month", "weekday", "year"), text.split(), strict=True)))


def _when(found: Mapping[str, Any]) -> str:
    zone = "" if found["timezone"] == "UTC" else f" {found['timezone']}"
    return ", ".join(found["when"]) + zone


def _next(found: Mapping[str, Any]) -> str:
    from penstock.cli.output import moment

    if found["paused"]:
        return "once it is resumed"
    return f"next at {moment(found['next_ms'])}" if found["next_ms"] else "at no tick: none is left"


def _lines(found: Mapping[str, Any], now_ms: int) -> Iterator[tuple[str, str]]:
    """Labels and texts of one schedule."""
    from penstock.cli.output import compact, moment, when

    yield "when", f"{_when(found)}, overlap {found['overlap']}"
    yield "input", compact(found["input"])
    if found["note"]:
        yield "note", found["note"]
    if found["remaining"] is not None:
        yield "left", f"{found['remaining']} ticks"
    yield from _several("next", [moment(tick_ms) for tick_ms in found["upcoming_ms"]])
    yield from _several("running", [_run(run, now_ms) for run in found["running_runs"]])
    yield from _several("waiting", [run["workflow_id"] for run in found["waiting_runs"]])
    yield from _several("last", [_run(run, now_ms) for run in found["recent_runs"][::-1]])
    counted = f"{found['started']} started, {found['skipped']} skipped, {found['missed']} missed"
    yield "in all", counted + (f"; the last tick was {when(found['last_ms'], now_ms)}" if found["last_ms"] else "")


def _several(label: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        yield label, text
        label = ""


def _run(run: Mapping[str, Any], now_ms: int) -> str:
    from penstock.cli.output import one_line, when

    status = run.get("status", "running")
    ended = f" {when(run['closed_ms'], now_ms)}" if run.get("closed_ms") else ""
    message = f": {one_line(run['message'])}" if run.get("message") else ""
    return f"{run['workflow_id']}  {status}{ended}{message}"
