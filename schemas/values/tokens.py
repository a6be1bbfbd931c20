"""Tokens of attempts: what completes an activity from outside, signed so that none can be made up.

A token is the base64url form, without padding, of an HMAC-SHA256 (32 bytes) and a JSON array of workflow id, run id,
sequence, attempt and shard.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from penstock.schemas.errors import BadToken

MAC_BYTES = 32
TOKEN_CHARS_MAX = 4_096

_MALFORMED = (
    "This is no token of an activity: pass the whole text that activity_info().token had in the activity's attempt."
)
_FORGED = (
    "The token was not signed with a key of this namespace: give processors, workers and clients the same setting "
    "token_key, or add the key that it was signed with behind the present one."
)


class AttemptToken(msgspec.Struct, frozen=True, array_like=True):
    """An attempt, as its token names it. `shard`: partition of `results` for what is said of it."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int
    shard: int


_decoder = msgspec.json.Decoder(AttemptToken)


def token_keys(setting: str, prefix: str, namespace: str) -> tuple[bytes, ...]:
    """The keys in the setting `token_key`, separated by commas: the first one signs, each of them is accepted.

    Without a setting, a key that follows from the namespace: tokens of other namespaces are refused then, but a token
    can be made by anybody who knows the name."""
    keys = tuple(key.strip().encode() for key in setting.split(",") if key.strip())
    return keys or (f"penstock/{prefix}/{namespace}".encode(),)


def write_token(attempt: AttemptToken, key: bytes) -> str:
    """The token of an attempt, signed with `key`."""
    body = msgspec.json.encode(attempt)
    # The body comes first: it begins like JSON, so that no token begins with a hyphen, as options of commands do.
    return base64.urlsafe_b64encode(body + _mac(body, key)).rstrip(b"=").decode()


def read_token(token: str, keys: Sequence[bytes]) -> AttemptToken:
    """The attempt that a token names. Raises BadToken if it is malformed, or signed with none of the keys."""
    text = token.strip()
    if not text.isascii() or not 0 < len(text) <= TOKEN_CHARS_MAX:
        raise BadToken(_MALFORMED)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        attempt = _decoder.decode(data[:-MAC_BYTES])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadToken(_MALFORMED) from error
    if not any(hmac.compare_digest(_mac(data[:-MAC_BYTES], key), data[-MAC_BYTES:]) for key in keys):
        raise BadToken(_FORGED)
    return attempt


def _mac(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()
