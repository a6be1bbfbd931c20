"""Run the tests of the core and of the execution on every Python from 3.11 to 3.14 that this machine has.

    python -m tools.pythons [PYTEST-ARGUMENTS]

Workflow code runs on asyncio, whose internals differ between minor versions of Python; histories must not. Interpreters
are looked for on PATH, among those of pyenv and in /usr/bin. Each gets an environment in `.venvs`, with the versions of
requirements.lock; the one that runs this tool has its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
MINORS = (11, 12, 13, 14)
TESTS = ("tests/engine/core", "tests/engine/execution", "tests/engine/authoring")
TOOLS = ("hypothesis>=6.100", "pytest>=8.2", "pytest-timeout>=2.3", "pytest-xdist>=3.5")
TIMEOUT_S = 600
_VERSION = "import sys; print(*sys.version_info[:2], sep='.')"


def interpreters() -> dict[str, str]:
    """The first interpreter of each version that runs, by version (`3.12`)."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for minor in MINORS:
        version = f"3.{minor}"
        for path in _candidates(version):
            if version not in found and _version_of(path) == version:
                found[version] = path
    return dict(sorted(found.items(), key=lambda one: int(one[0].partition(".")[2])))


def _candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")  # pyenv's shim may be there and refuse to run
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    yield from sorted(map(str, pyenv.glob(f"{version}*/bin/python")), reverse=True)
    yield from (
        path for path in (f"/usr/bin/python{version}", f"/usr/local/bin/python{version}") if Path(path).exists()
    )


def _version_of(path: str) -> str:
    try:
        ran = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip()


def environment(version: str, interpreter: str) -> str:
    """The Python of an environment with the dependencies, which is made unless it is there."""
    if interpreter == sys.executable:
        return interpreter
    folder = ROOT / ".venvs" / version
    python = str(folder / "bin" / "python")
    ready = folder / ".ready"
    if not ready.exists():
        print(f"creating {folder.relative_to(ROOT)} with {interpreter}", flush=True)
        subprocess.run([interpreter, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-c", "requirements.lock"]
        subprocess.run([*pip, *_dependencies(), *TOOLS], cwd=ROOT, check=True)
        ready.touch()
    return python


def _dependencies() -> list[str]:
    listed: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return listed


def main(arguments: Sequence[str] = ()) -> int:
    """Run the tests on each interpreter; returns 1 if they fail on one of them, or if it cannot be set up."""
    found = interpreters()
    print(f"found Python {', '.join(found)} (of 3.{MINORS[0]} to 3.{MINORS[-1]})", flush=True)
    failed = [version for version, interpreter in found.items() if not _passes(version, interpreter, arguments)]
    if failed:
        print(f"failed on Python {', '.join(failed)}")
    return 1 if failed else 0


def _passes(version: str, interpreter: str, arguments: Sequence[str]) -> bool:
    print(f"== Python {version}", flush=True)
    try:
        command = [environment(version, interpreter), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
        ran = subprocess.run([*command, *(arguments or TESTS)], cwd=ROOT, timeout=TIMEOUT_S, check=False)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{error}; if this version cannot be set up here, hide it from PATH and pyenv")
        return False
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
