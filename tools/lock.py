"""Writer of requirements.lock: the exact versions that we test with, resolved anew.

uv resolves for every supported Python at once (pip-compile only for the one it runs under); it lives in a temporary
environment, since nothing else here needs it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Every version that Penstock is tested with, for Python 3.11 and later, as pip constraints: `make setup` uses them.
# Made anew by `make lock`, after a change to the dependencies in pyproject.toml.
"""
OPTIONS = [
    *("--universal", "--python-version", "3.11"),
    *("--extra", "dev", "--extra", "examples"),
    *("--upgrade", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"),
]


def main() -> int:
    """Write requirements.lock; the exit code is uv's."""
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = f"{scratch}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
        found = Path(scratch, "requirements.lock")
        command = [python, "-m", "uv", "pip", "compile", *OPTIONS, "--output-file", str(found), "pyproject.toml"]
        code = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL).returncode
        if code == 0:
            LOCK.write_text(HEADER + found.read_text())
            print(f"wrote {LOCK.relative_to(ROOT)}")
        return code


if __name__ == "__main__":
    sys.exit(main())
