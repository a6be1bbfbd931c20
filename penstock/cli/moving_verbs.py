"""Verbs `export` and `import`: a run as a file, and back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.cli.act_verbs import by_option, reason_option
from penstock.cli.command import Invocation, id_argument, opened_client, run_id_option, verb
from penstock.cli.escape import escaped
from penstock.schemas.errors import BadInput


@verb("export")
@id_argument
@run_id_option
def export_run(invocation: Invocation, id_: str, run_id: str) -> None:
    """Print a run of ID as one JSON document: its history, memo, search attributes and outcome.

    `penstock import` takes in a closed one elsewhere, `penstock replay` compares any with code.
    """
    from penstock.cli.output import print_json

    async def run() -> dict[str, Any]:
        async with opened_client(invocation.settings) as client:
            return await client.export_run(id_, run_id=run_id)

    print_json(asyncio.run(run()))


@verb("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@reason_option
@by_option
def import_run(invocation: Invocation, file: Path, reason: str, by: str) -> None:
    """Take in the closed run that `penstock export ID > FILE` wrote, under its id, which must be free here."""
    document = _read(file)

    async def run() -> str:
        async with opened_client(invocation.settings) as client:
            return (await client.import_run(document, reason=reason, by=by)).id

    click.echo(f"{escaped(asyncio.run(run()))} was imported", err=True)


def _read(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{file} is no exported run ({error}): write it with `penstock export ID > FILE`.") from error
