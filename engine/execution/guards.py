"""Guards that keep workflow code from the real clock, randomness, files and network.

Workflow code is run again on replay and must repeat what it did. While a thread is between `enter` and `leave`, calls
that would not be repeated raise NonDeterministicCall, which names the replacement. There are three guards:

- wrapped module functions (`time.time`, `random.random`, `uuid.uuid4`, ...): they see calls through their module;
- an audit hook (PEP 578), which sees every opening of a file, socket or process by any caller and cannot be removed;
- with `install(strict=True)`, for development and tests, `sys.setprofile` on the guarded thread between `enter` and
  `leave`: it sees calls of C functions that cannot be replaced (`datetime.now`) or were imported by name before.

The caller decides: logging may read the clock, an import may read its files, the engine may do both. So a call is
judged by the frames that led to it (`_excused`), and only on a guarded thread.

The guards catch mistakes; they are no sandbox.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import gc
import os
import random
import secrets
import sys
import threading
import time
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

from penstock.schemas.errors import NonDeterministicCall

_CLOCK = "use penstock.now(), the run's own clock"
_STOPWATCH = "use penstock.now(), the run's own clock, or measure inside an activity"
_SLEEP = "use `await penstock.sleep(...)`, which is durable"
_CHANCE = "use penstock.random(), which replays the same"
_IDENTITY = "use penstock.uuid4(), which replays the same"
_UNGUESSABLE = "make secrets inside an activity, or use penstock.random() for numbers that need not be secret"
_FILE = "read and write files inside an activity"
_NETWORK = "talk to the network inside an activity"
_PROCESS = "start and change processes inside an activity"
_THREAD = "run blocking or parallel work inside an activity"
_DATABASE = "talk to databases inside an activity"
_TERMINAL = "wait for people with a Signal"

# Module functions that are wrapped. A name that this Python lacks is skipped.
_FUNCTIONS: dict[types.ModuleType, dict[str, str]] = {
    time: {
        **dict.fromkeys(("time", "time_ns", "clock_gettime", "clock_gettime_ns"), _CLOCK),
        **dict.fromkeys(("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"), _STOPWATCH),
        **dict.fromkeys(("process_time", "process_time_ns", "thread_time", "thread_time_ns"), _STOPWATCH),
        "sleep": _SLEEP,
    },
    os: {"urandom": _CHANCE, "getrandom": _CHANCE},
    uuid: dict.fromkeys(("uuid1", "uuid4", "uuid6", "uuid7", "uuid8", "getnode"), _IDENTITY),
    secrets: dict.fromkeys(
        ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe"),
        _UNGUESSABLE,
    ),
    threading: dict.fromkeys(("_start_new_thread", "_start_joinable_thread"), _THREAD),  # older Pythons audit neither
    asyncio: {
        "to_thread": _THREAD,
        "create_subprocess_exec": _PROCESS,
        "create_subprocess_shell": _PROCESS,
        "open_connection": _NETWORK,
        "open_unix_connection": _NETWORK,
        "start_server": _NETWORK,
        "start_unix_server": _NETWORK,
    },
}

# Functions that read the clock only if no time is passed: name -> position of the time.
_CLOCK_UNLESS_GIVEN = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}

# Audit events (docs.python.org/3/library/audit_events.html) that are refused, and groups of them, named by the word
# before the first dot.
_EVENTS = {
    "open": _FILE,
    "builtins.input": _TERMINAL,
    **dict.fromkeys(("_thread.start_new_thread", "_thread.start_joinable_thread"), _THREAD),
    **dict.fromkeys(("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"), _PROCESS),
    **dict.fromkeys(("os.kill", "os.killpg", "os.startfile", "os.startfile/2"), _PROCESS),
    **dict.fromkeys(("os.chdir", "os.putenv", "os.unsetenv"), _PROCESS),
}
_EVENT_FAMILIES = {
    **dict.fromkeys(("os", "shutil", "tempfile", "glob", "pathlib"), _FILE),
    **dict.fromkeys(("subprocess", "pty"), _PROCESS),
    **dict.fromkeys(
        ("socket", "ftplib", "http", "imaplib", "nntplib", "poplib", "smtplib", "telnetlib", "urllib", "webbrowser"),
        _NETWORK,
    ),
    "sqlite3": _DATABASE,
}
_SOURCE_SUFFIXES = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dll", ".dylib")

# Packages that observe a program: what they read, write and send does not reach workflow code.
_OBSERVERS = frozenset(
    {"logging", "structlog", "loguru", "warnings", "traceback", "weakref"}
    | {"opentelemetry", "sentry_sdk", "ddtrace"}
    | {"bdb", "pdb", "pydevd", "debugpy", "_pydevd_bundle"}
)
# Packages that also read what belongs to the program: its source, its modules' data, time zones. pydantic looks for
# its plugins; it may not read clocks or random numbers, so that `Field(default_factory=uuid4)` is refused.
_FILE_READERS = _OBSERVERS | {"linecache", "tokenize", "inspect", "importlib", "encodings", "gettext", "pydantic"}
_FILE_READERS |= {"zoneinfo", "tzdata", "pytz", "dateutil"}
# asyncio reads clocks for deadlines and in its debug mode; its use of the network is not excused.
_CLOCK_READERS = _OBSERVERS | {"asyncio"}
_EXCUSED_FOR = {_FILE: _FILE_READERS, _CLOCK: _CLOCK_READERS, _STOPWATCH: _CLOCK_READERS}
_ENGINE = "penstock"
_IMPORT_SYSTEM = ("importlib._bootstrap", "_frozen_importlib")

_DATE_METHODS = {"now": _CLOCK, "utcnow": _CLOCK, "today": _CLOCK}


class _Here(threading.local):
    """Nesting of `enter` on this thread; 0: every call is allowed."""

    depth = 0
    profile_before: Any = None


_here = _Here()
_installed = False
_strict = False
_remedies: dict[str, str] = {}  # name of a wrapped function -> what to use instead
_builtins_refused: dict[object, str] = {}  # C functions that strict mode refuses -> their names


def install(*, strict: bool = False) -> None:
    """Install the guards, once per process. A later call can only add strict mode; `strict=True` stays in force.

    Outside of workflow code a wrapped function costs some 0.1 µs more, and an audited operation 0.1 µs."""
    global _installed, _strict  # noqa: PLW0603 - audit hooks and patched modules are the process's as well
    _strict = _strict or strict
    if _installed:
        return
    _installed = True
    for module, functions in _FUNCTIONS.items():
        for name, remedy in functions.items():
            if hasattr(module, name):
                _replace(module, name, f"{module.__name__}.{name}", remedy)
    for name in dir(random):
        if isinstance(getattr(getattr(random, name), "__self__", None), random.Random):
            _replace(random, name, f"random.{name}", _CHANCE)
    if hasattr(random, "_urandom"):  # SystemRandom and secrets call os.urandom by this name
        _replace(random, "_urandom", "os.urandom", _CHANCE)
    for name, position in _CLOCK_UNLESS_GIVEN.items():
        _replace(time, name, f"time.{name}", _CLOCK, position)
    sys.addaudithook(_audited)


def enter() -> None:
    """Guard this thread until `leave`. May be nested."""
    _here.depth += 1
    if _strict and _here.depth == 1:
        _here.profile_before = sys.getprofile()
        sys.setprofile(_profiled)


def leave() -> None:
    """End the guarding that `enter` began."""
    assert _here.depth > 0, "leave() without enter() on this thread"
    _here.depth -= 1
    if _strict and _here.depth == 0:
        sys.setprofile(_here.profile_before)
        _here.profile_before = None


class guarded:  # noqa: N801 - reads as a verb: `with guarded():`
    """Run the block as workflow code."""

    __slots__ = ()

    def __enter__(self) -> None:
        enter()

    def __exit__(self, *_: object) -> None:
        leave()


class allowed:  # noqa: N801 - reads as a verb: `with allowed():`
    """Allow every call in the block, within workflow code: for the engine's own work and side effects."""

    __slots__ = ("_depth",)

    def __enter__(self) -> None:
        self._depth = _here.depth
        _here.depth = 0

    def __exit__(self, *_: object) -> None:
        _here.depth = self._depth


def is_guarded() -> bool:
    """Whether this thread is guarded."""
    return _here.depth > 0


def _replace(module: types.ModuleType, name: str, called: str, remedy: str, moment_at: int | None = None) -> None:
    """Replace `module.name` with a function that checks its caller."""
    real = getattr(module, name)
    _remedies[called] = remedy
    if moment_at is None:
        checked = _checked(real, called, remedy)
        if isinstance(real, types.BuiltinFunctionType):
            _builtins_refused[real] = called
    else:  # not for strict mode: a profile function does not see arguments
        checked = _checked_without_moment(real, called, remedy, moment_at)
    # A method, not a function: a class that holds it as an attribute (`clock = time.time`) must not bind it to itself,
    # as it would not have bound the C function.
    setattr(module, name, types.MethodType(functools.update_wrapper(checked, real), module))


def _checked(real: Callable[..., Any], called: str, remedy: str) -> Callable[..., Any]:
    def check(_: object, /, *args: Any, **kwargs: Any) -> Any:
        if _here.depth:
            _refuse_unless_excused(sys._getframe(1), called, remedy)  # noqa: SLF001 - inspect's way reads source files
        return real(*args, **kwargs)

    return check


def _checked_without_moment(real: Callable[..., Any], called: str, remedy: str, moment_at: int) -> Callable[..., Any]:
    def check(_: object, /, *args: Any) -> Any:
        if _here.depth and (len(args) <= moment_at or args[moment_at] is None):
            _refuse_unless_excused(sys._getframe(1), called, remedy)  # noqa: SLF001 - see _checked
        return real(*args)

    return check


# A call of an activity reads its caller's frame, which raises two harmless audit events.
_OF_EACH_CALL = frozenset({"sys._getframe", "object.__getattr__"})


def _audited(event: str, args: tuple[Any, ...], here: _Here = _here) -> None:
    """The audit hook. `here` is bound early: modules lose their globals while the interpreter ends."""
    if not here.depth or event in _OF_EACH_CALL:
        return
    family, _, name = event.partition(".")
    remedy = _EVENTS.get(event) or _EVENT_FAMILIES.get(family)
    if remedy is None or (event == "open" and _reads_own_files(args)):
        return
    if name == "__new__":
        event = f"{family}.{family}"
    _refuse_unless_excused(sys._getframe(1), event, remedy)  # noqa: SLF001 - see _checked


def _profiled(frame: types.FrameType, event: str, function: Any) -> None:
    """The profile function of strict mode; it checks calls of C functions only."""
    if event != "c_call" or not _here.depth:
        return
    if type(function) is types.BuiltinFunctionType:
        owner = function.__self__
        if isinstance(owner, type):
            if issubclass(owner, dt.date) and function.__name__ in _DATE_METHODS:
                called = f"{owner.__module__}.{owner.__qualname__}.{function.__name__}"
                _refuse_unless_excused(frame, called, _DATE_METHODS[function.__name__])
        elif function in _builtins_refused:
            called = _builtins_refused[function]
            _refuse_unless_excused(frame, called, _remedies[called])


def _reads_own_files(args: tuple[Any, ...]) -> bool:
    """Whether an audited `open` (path, mode, flags) reads a module, as imports and tracebacks do, or a time zone."""
    path, _, flags = args
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    text = os.fsdecode(path) if isinstance(path, bytes) else path
    if writes or not isinstance(text, str):
        return False
    return text.endswith(_SOURCE_SUFFIXES) or text.startswith(zoneinfo.TZPATH)  # zoneinfo in C leaves no frame


def _refuse_unless_excused(frame: types.FrameType, called: str, remedy: str) -> None:
    """Raise NonDeterministicCall if workflow code caused this call.

    The error names the function of the standard library that workflow code called, where it was not `called` itself."""
    if _excused(frame, _EXCUSED_FOR.get(remedy, _OBSERVERS)):
        return
    called = _entry(frame) or called
    raise NonDeterministicCall(
        f"workflow code called {called}(), which cannot be replayed: {_remedies.get(called, remedy)}"
    )


def _excused(start: types.FrameType, observers: frozenset[str]) -> bool:
    """Whether the call is allowed because workflow code did not cause it.

    Walks the frames outwards from `start`. Allowed are an observer with no user code between it and the call; an import
    under way, whatever its module calls; a finalizer or a callback of the garbage collector, since code does not choose
    their moment; and the engine itself, if no user code came first."""
    of_collector = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    user_code_met = False
    frame: types.FrameType | None = start
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        package = module.partition(".")[0]
        if package == _ENGINE:
            return not user_code_met
        code = frame.f_code
        if module.startswith(_IMPORT_SYSTEM) or code.co_name == "__del__" or code in of_collector:
            return True
        if not user_code_met:
            if package in observers:
                return True
            user_code_met = package not in sys.stdlib_module_names
        frame = frame.f_back
    return False


def _entry(start: types.FrameType) -> str:
    """Outermost function of the standard library between user code and the call; empty if there is none."""
    entry = ""
    frame: types.FrameType | None = start
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.partition(".")[0] not in sys.stdlib_module_names:
            break
        public = ".".join(part for part in module.split(".") if not part.startswith("_"))  # not `pathlib._local`
        entry = f"{public or module}.{frame.f_code.co_qualname}".removesuffix(".__init__")
        frame = frame.f_back
    return entry
