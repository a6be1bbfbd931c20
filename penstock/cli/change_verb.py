"""Verb `change-activity`: other options for an activity that a run waits for."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli.act_verbs import by_option, number_or_name, reason_option, with_run
from penstock.cli.command import Invocation, id_argument, run_id_option, verb
from penstock.cli.escape import escaped
from penstock.cli.start_options import backoff_of, retries_of

NONE = "none"
_TIMES = ("timeout", "schedule_to_start", "schedule_to_close", "heartbeat")


@verb("change-activity")
@id_argument
@click.argument("activity", metavar="ACTIVITY")
@click.option("--queue", default="", metavar="QUEUE", help="Task queue of the next attempt.")
@click.option("--timeout", metavar="DURATION", help=f"Start-to-close of the next attempts, or `{NONE}`.")
@click.option("--schedule-to-start", metavar="DURATION", help=f"Longest wait of an attempt in its queue, or `{NONE}`.")
@click.option("--schedule-to-close", metavar="DURATION", help=f"The activity with all its attempts, or `{NONE}`.")
@click.option("--heartbeat", metavar="DURATION", help=f"Longest silence of an attempt, or `{NONE}`.")
@click.option("--retries", metavar="N", help="Attempts after the first, or `unlimited`.")
@click.option("--backoff", metavar="FACTOR|DURATIONS", help="Delays of retries: a factor, or delays as 1s,10s,1m.")
@click.option("--now", is_flag=True, help="Begin the next attempt at once, in place of one that runs.")
@reason_option
@by_option
@run_id_option
def change_activity(
    invocation: Invocation, id_: str, activity: str, run_id: str, reason: str, by: str, **given: Any
) -> None:
    """Change options of an activity that the run of ID waits for. ACTIVITY: its name, or its number."""
    changes: dict[str, Any] = {"queue": given["queue"], "now": given["now"]}
    changes |= {name: None if given[name] == NONE else given[name] for name in _TIMES if given[name] is not None}
    if given["retries"] is not None:
        changes["retries"] = retries_of(given["retries"])
    if given["backoff"] is not None:
        changes["backoff"] = backoff_of(given["backoff"])
    which = number_or_name(activity)
    with_run(invocation, id_, run_id, lambda run: run.change_activity(which, reason=reason, by=by, **changes))
    click.echo(f"{escaped(activity)} of {escaped(id_)} has other options", err=True)
