"""Tests of `python -m bench.linear`: what it runs, on a small scale."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import linear


@pytest.mark.parametrize("code", [linear.children, linear.activities])
def test_many_at_once_complete(code, tmp_path: Path) -> None:
    """The runs that are measured complete with the sum of their children's, or activities', results."""
    loop = linear.Loop(tmp_path)
    assert loop.run(code(50), "run") > 0
    assert loop.closed[-1].result == b"%d" % sum(number + 1 for number in range(50))


def test_a_chain_leaves_rows_of_its_last_run_alone(tmp_path: Path) -> None:
    """After many continued runs the store has the rows of the last one, and one for each of the others."""
    sizes = []
    for iterations in (2_000, 4_000):
        loop = linear.Loop(tmp_path / str(iterations))
        loop.run(linear.chain(0, iterations), "chain")
        sizes.append(loop.size().rows)
    assert sizes[1] - sizes[0] == 2


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A comparison prints both costs and their ratio; a chain prints its tenths."""
    linear.compare("children", linear.children, 5)
    linear.follow(2_000)
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r" +50 children: +[0-9.]+ s, +[0-9.]+ µs each", lines[1])
    assert "ratio" in lines[2]
    assert len(lines) == 3 + linear.PARTS
    assert re.search(r"2,000 iterations: .* rows of .* KiB, .* MiB of memory", lines[-1])
