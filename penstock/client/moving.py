"""Exported runs: a run as one JSON document, and back as the command that imports it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.client.reads import Json, JsonList
from penstock.client.recorded import run_of_history
from penstock.client.run import CLOSING_EVENTS
from penstock.engine.core.limits import IMPORT_BYTES_MAX
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import BadInput, PayloadTooLarge, Undecodable
from penstock.schemas.ids import check_workflow_id
from penstock.schemas.records.retention import ImportWorkflow

FORMAT = "penstock run 1"
HOW = "write it with `penstock export ID > FILE`"


def exported(described: Json, events: JsonList) -> Json:
    """The document of a run: its history, how it was described, and a digest of both."""
    document = {
        "format": FORMAT,
        "workflow_id": described["workflow_id"],
        "run_id": described["run_id"],
        "described": described,
        "events": events,
    }
    return {**document, "digest": _digest(document)}


def import_command(document: Any, by: str, reason: str) -> ImportWorkflow:
    """The command that imports an exported run, without an address for its reply.

    Raises BadInput (it is no exported run, was changed, or the run is open), BadName, PayloadTooLarge."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadInput(f"This is no exported run of this version: {HOW}.")
    if document.get("digest") != _digest({name: value for name, value in document.items() if name != "digest"}):
        raise BadInput("This run was changed after it was exported, since its digest is another one: export it again.")
    try:
        workflow_id = check_workflow_id(document["workflow_id"])
        run = run_of_history(workflow_id, document["run_id"], document["events"])
    except (KeyError, TypeError, AttributeError, Undecodable) as error:
        raise BadInput(f"This is no exported run ({error}): {HOW}.") from error
    if run.closing not in CLOSING_EVENTS:
        raise BadInput(
            f"The run of {workflow_id} was open when it was exported, and only closed runs are imported; "
            "`penstock replay` compares the file with code."
        )
    records = tuple(map(encode, run.records))
    size = sum(map(len, records))
    if size > IMPORT_BYTES_MAX:
        raise PayloadTooLarge(
            f"The history of {workflow_id} takes {size:,} bytes as one record, and {IMPORT_BYTES_MAX:,} at most are "
            "imported; keep the file, which `penstock replay` reads."
        )
    return ImportWorkflow(workflow_id=workflow_id, run_id=run.run_id, records=records, by=by, reason=reason)


def _digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document's values, however they are spaced and ordered."""
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()
