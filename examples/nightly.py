"""A nightly report whose run is replaced by that of the next night if it has not ended by then.

penstock dev examples/nightly.py

and in another shell, in the same folder:

penstock schedule create nightly nightly --cron '0 2 * * *' --overlap cancel_other --input @report.json
penstock schedule show nightly

where report.json has {"folder": "reports", "takes": "3h"}.

With `cancel_other` the tick of a night cancels the report of the night before, lets it remove its draft, and starts
when that has ended: so there is one draft at most, and never a report of yesterday that is published tomorrow.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from penstock import activity, info, sleep, workflow


@activity(timeout="10s")
def draft(folder: str, night: str) -> None:
    """Write a draft."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / f"{night}.draft").write_text("…")


@activity(timeout="10s")
def publish(folder: str, night: str) -> str:
    """Publish the draft; done twice, it is published once."""
    published = Path(folder) / f"{night}.html"
    published.write_text(f"<h1>{night}</h1>")
    (Path(folder) / f"{night}.draft").unlink(missing_ok=True)
    return published.name


@activity(timeout="10s")
def discard(folder: str, night: str) -> None:
    """Remove the draft."""
    (Path(folder) / f"{night}.draft").unlink(missing_ok=True)


@workflow(name="nightly")
async def nightly(folder: str, takes: str) -> str:
    """Write a report, which takes so long, and publish it. `takes`: a duration such as 3h."""
    night = f"{info().scheduled_at or info().started:%Y-%m-%dT%H-%M-%S}"
    await draft(folder, night)
    try:
        await sleep(takes)
        return await publish(folder, night)
    except asyncio.CancelledError:
        await discard(folder, night)
        raise
