"""Committed reads of the shares of versions."""

from __future__ import annotations

from typing import Any

from penstock.engine.core.keys import SHARES, after, share_key
from penstock.engine.core.rows import unpack_shares
from penstock.engine.store.store import StoreReader


def version_shares(store: StoreReader, workflow_type: str = "") -> list[dict[str, Any]]:
    """The shares of the shard's runs by type and version, of all types by default: each with `type`, `version` and
    `share` (ten-thousandths). They are few: operators set each for a type that is hosted."""
    if workflow_type:
        data = store.get(share_key(workflow_type))
        rows = [(workflow_type, data)] if data is not None else []
    else:
        rows = [(key[len(SHARES) :].decode(), value) for key, value in store.scan(SHARES, after(SHARES))]
    return [
        {"type": name, "version": version, "share": share}
        for name, value in rows
        for version, share in unpack_shares(value).shares.items()
    ]
