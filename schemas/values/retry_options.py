"""Conversion of `retries=`, `backoff=` and timeouts into a RetryPolicy and milliseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from penstock.schemas.errors import BadDuration, BadInput
from penstock.schemas.values.durations import Duration, duration_ms
from penstock.schemas.values.retry import RetryPolicy

Unset = msgspec.UnsetType
UNSET: Literal[msgspec.UnsetType.UNSET] = msgspec.UNSET

DEFAULT = RetryPolicy()


def retry_policy(retries: int | None, backoff: float | Sequence[Duration] | None) -> RetryPolicy:
    """Return the policy that `retries=` and `backoff=` describe; None means the default.

    Raises BadInput, BadDuration."""
    return changed_policy(DEFAULT, retries, UNSET if backoff is None else backoff)


def changed_policy(
    policy: RetryPolicy, retries: int | Unset | None, backoff: float | Sequence[Duration] | Unset
) -> RetryPolicy:
    """Return `policy` with the given options replaced; `retries=None` means unlimited. Raises BadInput, BadDuration."""
    if not isinstance(retries, msgspec.UnsetType):
        policy = msgspec.structs.replace(policy, retries_max=_retries_max(retries))
    if isinstance(backoff, msgspec.UnsetType):
        return policy
    if isinstance(backoff, int | float):
        return _with_factor(policy, float(backoff))
    return _with_delays(policy, backoff)


class RunBounds(NamedTuple):
    """How long a run and its chain may take (0: without a limit), and how often it is tried again (None: never)."""

    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None


def run_bounds(
    run_timeout: Duration | None,
    execution_timeout: Duration | None,
    retries: int | Unset | None,
    backoff: float | Sequence[Duration] | Unset,
) -> RunBounds:
    """Return the bounds that options of a start describe; without `retries` and `backoff` a run is not tried again.

    Raises BadInput, BadDuration."""
    retry = changed_policy(DEFAULT, retries, backoff) if gives_retry(retries, backoff) else None
    return RunBounds(
        timeout_ms_of(run_timeout, "run_timeout"),
        timeout_ms_of(execution_timeout, "execution_timeout"),
        None if retry is not None and retry.retries_max == 0 else retry,
    )


def gives_retry(retries: int | Unset | None, backoff: float | Sequence[Duration] | Unset) -> bool:
    """Whether options say how often a run is tried again, be it never."""
    return not (isinstance(retries, msgspec.UnsetType) and isinstance(backoff, msgspec.UnsetType))


def timeout_ms_of(timeout: Duration | None, name: str = "timeout") -> int:
    """Return the timeout in ms, 0 for None. Raises BadDuration if it is unreadable or below 1 ms."""
    if timeout is None:
        return 0
    timeout_ms = duration_ms(timeout)
    if timeout_ms <= 0:
        raise BadDuration(f"{name}={timeout!r} is too short: give at least 1 ms, or None for no timeout.")
    return timeout_ms


def _retries_max(retries: int | None) -> int:
    if retries is None:
        return -1
    if type(retries) is not int or retries < 0:
        raise BadInput(f"retries={retries!r} is invalid: give 0 or more, or None for unlimited retries.")
    return retries


def _with_factor(policy: RetryPolicy, factor: float) -> RetryPolicy:
    if not 1.0 <= factor < math.inf:
        raise BadInput(f"backoff={factor!r} is invalid: give a factor of at least 1.0, or a list of delays.")
    return msgspec.structs.replace(
        policy, delays_ms=DEFAULT.delays_ms, factor=factor, delay_ms_max=DEFAULT.delay_ms_max
    )


def _with_delays(policy: RetryPolicy, delays: object) -> RetryPolicy:
    """Replace the delays; the last is repeated (factor 1), and the upper bound is at least the longest of them."""
    if isinstance(delays, str) or not isinstance(delays, Sequence) or not delays:
        raise BadInput(f'backoff={delays!r} is invalid: give a factor like 2.0, or delays like ["1s", "10s"].')
    delays_ms = tuple(duration_ms(delay) for delay in delays)
    if min(delays_ms) < 0:
        raise BadDuration(f"backoff={delays!r} contains a negative delay: give delays of 0 or more.")
    return msgspec.structs.replace(
        policy, delays_ms=delays_ms, factor=1.0, delay_ms_max=max(DEFAULT.delay_ms_max, *delays_ms)
    )
