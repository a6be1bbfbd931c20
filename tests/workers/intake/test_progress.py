"""Progress within a partition, and its encoding (workers/intake/progress.py)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.workers.intake.progress import METADATA_BYTES_MAX, Progress, from_metadata, to_metadata


def offsets_of(ranges: list[tuple[int, int]]) -> set[int]:
    return {offset for start, stop in ranges for offset in range(start, stop)}


@st.composite
def ranges_above(draw: Any) -> tuple[int, list[tuple[int, int]]]:
    """Draw a watermark, and disjoint ranges in order above it with open offsets between them."""
    watermark = draw(st.integers(0, 2**40))
    pairs = draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=60))
    ranges, at = [], watermark
    for open_length, done_length in pairs:
        ranges.append((at + open_length, at + open_length + done_length))
        at += open_length + done_length
    return watermark, ranges


def test_nothing_delivered_means_the_watermark_stays() -> None:
    """A partition without deliveries commits its first offset, with empty metadata."""
    progress = Progress(7)
    assert (progress.watermark, progress.metadata()) == (7, "")


def test_finishing_in_order_moves_the_watermark() -> None:
    """The watermark is the first delivered offset that is not done."""
    progress = Progress(0)
    assert [progress.delivered(offset) for offset in (0, 1, 2)] == [True, True, True]
    progress.finished(0)
    assert progress.watermark == 1
    progress.finished(1)
    progress.finished(2)
    assert progress.watermark == 3


def test_finishing_out_of_order_is_kept_in_the_metadata() -> None:
    """Offsets finished above the watermark are kept in the metadata, and the next owner does not run them."""
    progress = Progress(0)
    for offset in range(6):
        progress.delivered(offset)
    for offset in (1, 3, 4):
        progress.finished(offset)
    successor = Progress(progress.watermark, progress.metadata())
    assert progress.watermark == 0
    assert [offset for offset in range(6) if successor.delivered(offset)] == [0, 2, 5]


def test_gaps_between_delivered_offsets_count_as_done() -> None:
    """Offsets that were never delivered (transaction markers) neither hold the watermark nor lengthen the metadata."""
    progress = Progress(0)
    for offset in (2, 5, 9):
        progress.delivered(offset)
    progress.finished(2)
    assert progress.watermark == 5
    progress.finished(9)
    assert progress.done() == [(6, 10)]
    progress.finished(5)
    assert (progress.watermark, progress.metadata()) == (10, "")


def test_one_stuck_task_costs_a_few_bytes() -> None:
    """A million finished tasks above one open task take less than 16 characters."""
    progress = Progress(0)
    for offset in range(0, 2_000_000, 2):
        progress.delivered(offset)
        if offset:
            progress.finished(offset)
    assert progress.watermark == 0
    assert progress.open_count == 1
    assert 0 < len(progress.metadata()) < 16


def test_offsets_finished_by_an_earlier_owner_are_kept_until_delivered() -> None:
    """An owner that dies before all was delivered to it passes on what the owner before it had finished."""
    first = Progress(0)
    for offset in range(10):
        first.delivered(offset)
    for offset in (2, 8, 9):
        first.finished(offset)
    second = Progress(first.watermark, first.metadata())
    assert second.delivered(0)
    third = Progress(second.watermark, second.metadata())
    assert [offset for offset in range(10) if third.delivered(offset)] == [0, 1, 3, 4, 5, 6, 7]


def test_a_record_delivered_again_is_not_run_again() -> None:
    """An offset below the next one is not run again, since its task is running or done."""
    progress = Progress(0)
    assert progress.delivered(0)
    assert not progress.delivered(0)
    progress.finished(0)
    progress.finished(0)
    assert not progress.delivered(0)
    assert progress.watermark == 1


def test_expired_offsets_are_skipped() -> None:
    """Skipping to the first kept offset moves the watermark once no delivered task is open."""
    progress = Progress(5)
    progress.delivered(5)
    progress.skip_to(100)
    assert (progress.watermark, progress.next_offset) == (5, 100)
    progress.finished(5)
    assert progress.watermark == 100


@pytest.mark.parametrize("text", ["", "x", "r", "r!", "z0000", "r~", "b\u00e9", "r0", "rzzzzz", "not ours"])
def test_foreign_metadata_counts_as_none(text: str) -> None:
    """Foreign or truncated metadata raises no error and yields no empty range."""
    assert all(stop > start for start, stop in from_metadata(0, text))


@settings(deadline=None)
@given(ranges_above())
def test_ranges_survive_metadata(case: tuple[int, list[tuple[int, int]]]) -> None:
    """Ranges that fit are decoded exactly, at any watermark."""
    watermark, ranges = case
    text = to_metadata(watermark, ranges)
    assert len(text.encode()) <= METADATA_BYTES_MAX
    assert from_metadata(watermark, text) == ranges


@settings(deadline=None)
@given(ranges_above(), st.integers(2, 60))
def test_metadata_that_does_not_fit_keeps_the_lowest_offsets(
    case: tuple[int, list[tuple[int, int]]], characters_max: int
) -> None:
    """Truncated metadata stays within its limit and holds the lowest finished offsets only, never an open one."""
    watermark, ranges = case
    text = to_metadata(watermark, ranges, characters_max)
    assert len(text) <= characters_max
    kept = offsets_of(from_metadata(watermark, text))
    done = offsets_of(ranges)
    assert kept == {offset for offset in done if offset <= max(kept, default=-1)}


def test_a_dense_pattern_falls_back_to_a_bitmap() -> None:
    """Every second of 20,000 tasks fits as a bitmap, which it would not as ranges."""
    ranges = [(offset, offset + 1) for offset in range(1, 20_000, 2)]
    text = to_metadata(0, ranges)
    assert text.startswith("b")
    assert len(text) <= METADATA_BYTES_MAX
    assert from_metadata(0, text) == ranges


def test_a_dense_pattern_beyond_the_limit_is_cut() -> None:
    """Of a pattern that fits in no form, about the lowest 26,000 offsets are kept."""
    ranges = [(offset, offset + 1) for offset in range(1, 100_000, 2)]
    text = to_metadata(0, ranges)
    kept = from_metadata(0, text)
    assert len(text) <= METADATA_BYTES_MAX
    assert kept == ranges[: len(kept)]
    assert len(kept) > 13_000


Step = tuple[str, int]


@settings(max_examples=300, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 4), min_size=1, max_size=80),
    steps=st.lists(st.tuples(st.sampled_from(["deliver", "finish", "crash"]), st.integers(0, 200)), max_size=250),
    start=st.integers(0, 1_000),
)
def test_any_history_of_crashes_runs_everything_and_nothing_committed_twice(
    gaps: list[int], steps: list[Step], start: int
) -> None:
    """In any order of deliveries, ends and crashes no task is lost, and no committed one runs again."""
    log = [start + sum(gaps[: index + 1]) for index in range(len(gaps))]
    progress, position = Progress(start), 0
    running: list[int] = []
    finished: set[int] = set()
    committed = (progress.watermark, progress.metadata(), frozenset(finished))
    for step, number in [*steps, ("crash", 0), *[("deliver", 0)] * len(log), *[("finish", 0)] * len(log)]:
        if step == "deliver" and position < len(log):
            offset = log[position]
            position += 1
            if progress.delivered(offset):
                assert offset not in committed[2], "a committed task was run again"
                running.append(offset)
        elif step == "finish" and running:
            offset = running.pop(number % len(running))
            progress.finished(offset)
            finished.add(offset)
            committed = (progress.watermark, progress.metadata(), frozenset(finished))
        elif step == "crash":
            finished = set(committed[2])
            progress, running = Progress(committed[0], committed[1]), []
            position = next((at for at, offset in enumerate(log) if offset >= committed[0]), len(log))
    assert finished == set(log)
    assert progress.watermark == log[-1] + 1
    assert progress.done() == []
