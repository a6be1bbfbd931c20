"""Types of activities as mypy and pyright infer them (workers/activity/decorator.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("typed_activities.py")


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_calls_are_typed_and_wrong_calls_are_errors(checker: str, tmp_path: Path) -> None:
    """Both checkers infer `ActivityCall[R]` for sync and async, with and without options; mypy also refuses misuse."""
    arguments = {
        "mypy": ["--strict", "--follow-imports=silent", f"--cache-dir={tmp_path}", str(PROGRAM)],
        "pyright": [str(PROGRAM)],
    }
    checked = subprocess.run(
        [sys.executable, "-m", checker, *arguments[checker]], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
