"""Tests of the list of mends."""

from __future__ import annotations

import pytest

from tools.mends import ROOT, Mend, main, mends


@pytest.mark.parametrize("mend", mends(), ids=lambda mend: mend.test.rpartition("::")[2])
def test_a_mend_can_be_switched_off(mend: Mend) -> None:
    """The text that a mend replaces occurs once in its file, and its test exists."""
    assert (ROOT / mend.file).read_text().count(mend.old) == 1
    path, _, name = mend.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()


def test_the_list_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` prints what happens now and the test, and runs nothing."""
    assert main(["--list", "--only", "A.3"]) == 0
    printed = capsys.readouterr().out
    assert "does not" not in printed.splitlines()[1] and "tests/engine/runtime/test_plausible.py" in printed
