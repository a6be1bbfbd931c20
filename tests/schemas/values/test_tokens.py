"""Tokens of attempts (schemas/values/tokens.py)."""

from __future__ import annotations

import base64
from random import Random

import pytest

from penstock.schemas.errors import BadToken
from penstock.schemas.values.tokens import AttemptToken, read_token, token_keys, write_token

ATTEMPT = AttemptToken("order-ž/1", "run-1", 3, 2, 1)
KEYS = token_keys("new, old", "penstock", "default")


def test_a_token_names_its_attempt() -> None:
    """A token is read back with the key that signed it, and with a key that was replaced since."""
    for key in KEYS:
        token = write_token(ATTEMPT, key)
        assert token.replace("-", "").replace("_", "").isalnum()
        assert read_token(f" {token}\n", KEYS) == ATTEMPT


@pytest.mark.parametrize(
    "token", ["", " ", "order-1", "é", "a" * 5_000, "====", "_" * 100, base64.b64encode(b"x" * 40).decode()]
)
def test_a_malformed_token_is_one_sentence(token: str) -> None:
    """Whatever is no token says so at once, and what to pass."""
    with pytest.raises(BadToken, match=r"^This is no token of an activity: pass the whole text"):
        read_token(token, KEYS)


def test_a_token_of_another_key_is_refused() -> None:
    """A token that was signed with another key, or changed in any bit, is refused."""
    with pytest.raises(BadToken, match="not signed with a key of this namespace"):
        read_token(write_token(ATTEMPT, b"another"), KEYS)
    random = Random(7)
    data = base64.urlsafe_b64decode(write_token(ATTEMPT, KEYS[0]) + "==")
    for _ in range(200):
        changed = bytearray(data)
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
        with pytest.raises(BadToken):
            read_token(base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode(), KEYS)


def test_without_a_setting_the_key_follows_from_the_namespace() -> None:
    """Tokens of another namespace are refused without a setting, too."""
    token = write_token(ATTEMPT, token_keys("", "penstock", "default")[0])
    assert read_token(token, token_keys("", "penstock", "default")) == ATTEMPT
    with pytest.raises(BadToken):
        read_token(token, token_keys("", "penstock", "other"))


def test_no_token_begins_like_an_option() -> None:
    """A token is an argument of commands, whatever its signature is."""
    tokens = [write_token(AttemptToken("order-1", "run-1", number, 1, 0), b"key") for number in range(300)]
    assert {token[0] for token in tokens} == {"W"}
