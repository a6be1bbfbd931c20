"""Tests of the pauses of topics and shards that refuse records."""

from __future__ import annotations

from penstock.engine.runtime.refusals import DELAY_MS_FIRST, DELAY_MS_MAX, Pauses


def test_pauses_grow_until_the_log_accepts() -> None:
    """Each refusal doubles the pause, up to a bound; an accepted record ends that."""
    pauses: Pauses[str] = Pauses()
    delays = [pauses.begin("topic", 0) for _ in range(8)]
    assert delays[:3] == [DELAY_MS_FIRST, 2 * DELAY_MS_FIRST, 4 * DELAY_MS_FIRST] and delays[-1] == DELAY_MS_MAX
    assert pauses.accepted("topic") and "topic" not in pauses
    assert pauses.begin("topic", 0) == DELAY_MS_FIRST


def test_a_pause_ends_when_its_time_is_over() -> None:
    """A topic is refused until its pause has passed."""
    pauses: Pauses[str] = Pauses()
    pauses.begin("topic", 1_000)
    assert pauses.end_due(1_000 + DELAY_MS_FIRST - 1) == [] and "topic" in pauses
    assert pauses.end_due(1_000 + DELAY_MS_FIRST) == ["topic"] and "topic" not in pauses


def test_a_clock_that_was_set_back_ends_a_pause() -> None:
    """A pause does not last for as long as the clock was ahead."""
    pauses: Pauses[int] = Pauses()
    pauses.begin(3, 1_000_000)
    assert pauses.end_due(5) == [3]
