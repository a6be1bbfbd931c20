"""Switch each mend off, one at a time, and see its test fail.

    python -m tools.mends [--only TEXT] [--list]

`tools/mends/*.toml` describe the mends: what happens now, the test that holds it, and a replacement in one file that
brings the fault back. The files are changed in place and restored, so the tree must be clean."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
MENDS = ROOT / "tools" / "mends"
TEST_TIMEOUT_S = 300


class Mend(msgspec.Struct, frozen=True, kw_only=True):
    """A mended fault. With `old` replaced by `new` in `file`, `test` fails. `item`: kind of fault and number."""

    item: str
    says: str
    test: str
    file: str
    old: str
    new: str


def mends() -> list[Mend]:
    """All mends, by item."""
    found = [
        msgspec.convert(one, Mend)
        for path in sorted(MENDS.glob("*.toml"))
        for one in tomllib.loads(path.read_text())["mend"]
    ]
    return sorted(found, key=_order)


def _order(mend: Mend) -> tuple[str, int, str]:
    letter, _, number = mend.item.partition(".")
    return letter, int(number or 0), mend.says


def problem_of(mend: Mend) -> str:
    """Why a mend's description is of no use; empty if its test fails without it."""
    path = ROOT / mend.file
    source = path.read_text()
    if source.count(mend.old) != 1:
        return f"the text to replace occurs {source.count(mend.old)} times in {mend.file}"
    try:
        path.write_text(source.replace(mend.old, mend.new))
        code = _test(mend.test)
    finally:
        path.write_text(source)
    if code == 1:
        return ""
    return "its test passes without it" if code == 0 else f"pytest ended with code {code}"


def _test(name: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", name]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=TEST_TIMEOUT_S, check=False)
    return ran.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the mends; returns 1 if the test of one passes without it."""
    parser = argparse.ArgumentParser(prog="python -m tools.mends", description="See each mend's test fail without it.")
    parser.add_argument("--only", default="", metavar="TEXT", help="mends whose item, test or text contains this")
    parser.add_argument("--list", action="store_true", help="print the mends and run nothing")
    given = parser.parse_args(arguments)
    chosen = [one for one in mends() if given.only in f"{one.item} {one.says} {one.test}"]
    if given.list:
        for one in chosen:
            print(f"{one.item:<5} {one.says}\n      {one.test}")
        return 0
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT, check=False).returncode:
        print("the tree has changes: commit them first, since files are changed and restored", file=sys.stderr)
        return 2
    problems = 0
    for one in chosen:
        problem = problem_of(one)
        problems += bool(problem)
        print(f"{one.item:<5} {problem or 'fails without it'}: {one.test}", flush=True)
    print(f"{len(chosen)} mends, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
