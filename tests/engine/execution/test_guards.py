"""Tests of the guards that keep workflow code from calls that would not replay, and only those."""

# Clocks and files are used here in just the ways that workflow code should not.
# ruff: noqa: B018, DTZ002, DTZ003, DTZ005, DTZ011, LOG001, PTH107, PTH123, PTH207, PTH208, SIM115, UP031

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import glob
import importlib
import io
import logging
import os
import pathlib
import random
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import uuid
import warnings
import zoneinfo
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pydantic
import pytest
import structlog

from penstock.engine.execution import guards
from penstock.engine.execution.guards import allowed, enter, guarded, install, is_guarded, leave
from penstock.schemas.errors import NonDeterministicCall

# Bound by name before any guard is installed, as in a user's module: only strict mode can see these.
from_time = time.time
from_random = random.random
from_uuid4 = uuid.uuid4

install()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strict mode, as after install(strict=True), for one test."""
    monkeypatch.setattr(guards, "_strict", True)


@pytest.fixture(autouse=True)
def lenient_by_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lenient mode by default, even if other tests installed strict mode; no test may leave its thread guarded."""
    monkeypatch.setattr(guards, "_strict", False)
    yield
    assert not is_guarded()
    assert sys.getprofile() is None


REFUSED: list[tuple[str, str, Callable[[], Any]]] = [
    ("time.time", "penstock.now()", lambda: time.time()),
    ("time.time_ns", "penstock.now()", lambda: time.time_ns()),
    ("time.monotonic", "penstock.now()", lambda: time.monotonic()),
    ("time.perf_counter", "penstock.now()", lambda: time.perf_counter()),
    ("time.sleep", "penstock.sleep", lambda: time.sleep(0)),
    ("time.localtime", "penstock.now()", lambda: time.localtime()),
    ("time.strftime", "penstock.now()", lambda: time.strftime("%Y")),
    ("time.ctime", "penstock.now()", lambda: time.ctime(None)),
    ("random.random", "penstock.random()", lambda: random.random()),
    ("random.randint", "penstock.random()", lambda: random.randint(1, 6)),
    ("random.shuffle", "penstock.random()", lambda: random.shuffle([1])),
    ("random.choice", "penstock.random()", lambda: random.choice("ab")),
    ("random.seed", "penstock.random()", lambda: random.seed(1)),
    ("random.SystemRandom.random", "penstock.random()", lambda: random.SystemRandom().random()),
    ("os.urandom", "penstock.random()", lambda: os.urandom(4)),
    ("uuid.uuid1", "penstock.uuid4()", lambda: uuid.uuid1()),
    ("uuid.uuid4", "penstock.uuid4()", lambda: uuid.uuid4()),
    ("uuid.uuid4", "penstock.uuid4()", lambda: from_uuid4()),
    ("secrets.token_hex", "activity", lambda: secrets.token_hex()),
    ("secrets.choice", "activity", lambda: secrets.choice("ab")),
    ("open", "activity", lambda: open("/etc/hostname")),
    ("open", "activity", lambda: open("module.py", "w")),
    ("pathlib.Path.read_text", "activity", lambda: pathlib.Path("/etc/hostname").read_text()),
    ("io.open", "activity", lambda: io.FileIO("/etc/hostname")),
    ("os.listdir", "activity", lambda: os.listdir("/")),
    ("os.remove", "activity", lambda: os.remove("/nonexistent")),
    ("os.mkdir", "activity", lambda: pathlib.Path("/nonexistent/x").mkdir()),
    ("shutil.rmtree", "activity", lambda: shutil.rmtree("/nonexistent")),
    ("tempfile", "", lambda: tempfile.mkdtemp()),
    ("glob.glob", "activity", lambda: glob.glob("/nonexistent/*")),
    ("os.putenv", "activity", lambda: os.environ.setdefault("PENSTOCK_NO_SUCH_NAME", "x")),
    ("os.system", "processes inside an activity", lambda: os.system("true")),
    ("subprocess.run", "processes inside an activity", lambda: subprocess.run(["true"])),
    ("os.fork", "processes inside an activity", lambda: os.fork()),
    ("socket.socket", "network inside an activity", lambda: socket.socket()),
    ("socket.create_connection", "network", lambda: socket.create_connection(("127.0.0.1", 9))),
    ("socket.getaddrinfo", "network inside an activity", lambda: socket.getaddrinfo("localhost", 80)),
    ("sqlite3.connect", "databases inside an activity", lambda: sqlite3.connect(":memory:")),
    ("threading.Thread.start", "activity", lambda: threading.Thread(target=print).start()),
    ("asyncio.to_thread", "activity", lambda: asyncio.to_thread(print)),
    ("asyncio.open_connection", "network inside an activity", lambda: asyncio.open_connection("localhost", 80)),
    ("builtins.input", "Signal", lambda: input()),
]


@pytest.mark.parametrize(
    ("called", "remedy", "call"), REFUSED, ids=[f"{at}-{row[0]}" for at, row in enumerate(REFUSED)]
)
def test_workflow_code_is_refused(called: str, remedy: str, call: Callable[[], Any]) -> None:
    """Calls that do not replay raise an error that names the call and its replacement."""
    if called in {"io.open", "tempfile", "os.mkdir", "os.putenv"}:
        called = ""  # which of its own functions the standard library calls on the way differs between Pythons
    with guarded(), pytest.raises(NonDeterministicCall) as refused:
        call()
    assert f"workflow code called {called}" in str(refused.value)
    assert remedy in str(refused.value)


def test_the_message_is_one_sentence() -> None:
    """The message says in one sentence what was called and what to do instead."""
    with guarded(), pytest.raises(NonDeterministicCall) as refused:
        time.time()
    assert str(refused.value) == (
        "workflow code called time.time(), which cannot be replayed: use penstock.now(), the run's own clock"
    )


STRICT: list[tuple[str, str, Callable[[], Any]]] = [
    ("datetime.datetime.now", "penstock.now()", lambda: dt.datetime.now()),
    ("datetime.datetime.now", "penstock.now()", lambda: dt.datetime.now(tz=dt.UTC)),
    ("datetime.datetime.utcnow", "penstock.now()", lambda: dt.datetime.utcnow()),
    ("datetime.datetime.today", "penstock.now()", lambda: dt.datetime.today()),
    ("datetime.date.today", "penstock.now()", lambda: dt.date.today()),
    ("time.time", "penstock.now()", lambda: from_time()),
    ("random.random", "penstock.random()", lambda: from_random()),
]


@pytest.mark.parametrize(("called", "remedy", "call"), STRICT)
@pytest.mark.usefixtures("strict")
def test_strict_mode_sees_c_functions(called: str, remedy: str, call: Callable[[], Any]) -> None:
    """With strict=True, C methods and functions imported by name are refused too."""
    with guarded(), pytest.raises(NonDeterministicCall) as refused:
        call()
    assert f"workflow code called {called}()" in str(refused.value)
    assert remedy in str(refused.value)


@pytest.mark.usefixtures("strict")
def test_strict_mode_sees_subclasses_of_datetime() -> None:
    """A subclass's inherited now() is refused under the subclass's name."""

    class Moment(dt.datetime):
        pass

    with guarded(), pytest.raises(NonDeterministicCall, match=r"Moment\.now\(\)"):
        Moment.now()


@pytest.mark.usefixtures("strict")
def test_strict_mode_restores_the_profiler() -> None:
    """A profile function that was set before enter is set again after the outermost leave."""
    seen: list[str] = []

    def mine(_frame: types.FrameType, event: str, _arg: Any) -> None:
        seen.append(event)

    sys.setprofile(mine)
    try:
        enter()
        enter()
        leave()
        assert sys.getprofile() is not mine
        leave()
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)
    assert seen


@pytest.mark.usefixtures("strict")
def test_a_refusal_caught_leaves_the_thread_as_it_was() -> None:
    """Workflow code that swallows the error in strict mode still ends with the profiler that was set before."""
    with guarded():
        with pytest.raises(NonDeterministicCall):
            dt.datetime.now()
        assert is_guarded()
    assert sys.getprofile() is None


def harmless() -> list[Any]:
    """Permitted calls: computing, seeded random numbers, parsing and formatting given times."""
    return [
        random.Random(7).random(),
        random.Random("seed").choices("abc", k=3),
        uuid.UUID(int=5),
        uuid.uuid5(uuid.NAMESPACE_DNS, "penstock"),
        dt.datetime(2024, 2, 29, tzinfo=dt.UTC) + dt.timedelta(days=1),
        dt.datetime.fromtimestamp(0, tz=dt.UTC),
        time.gmtime(0),
        time.strftime("%Y", time.gmtime(0)),
        Decimal("1.10") * 3,
        sorted({"b": 1, "a": 2}.items()),
        "%s" % ValueError("x"),
    ]


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_computing_is_permitted(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded generators, given times and plain computing pass, with the results they have elsewhere."""
    monkeypatch.setattr(guards, "_strict", mode)
    expected = harmless()
    with guarded():
        assert harmless() == expected


def test_only_the_guarded_thread_is_guarded() -> None:
    """While one thread runs workflow code, another may call anything."""
    entered, checked = threading.Event(), threading.Event()
    outcome: list[str] = []

    def workflow() -> None:
        with guarded():
            entered.set()
            checked.wait(timeout=30)
            try:
                time.time()
            except NonDeterministicCall:
                outcome.append("refused")

    thread = threading.Thread(target=workflow)
    thread.start()
    assert entered.wait(timeout=30), "waited 30 s for the other thread to enter"
    assert time.time() > 0
    assert random.random() < 1
    assert pathlib.Path(os.devnull).read_text() == ""
    checked.set()
    thread.join(timeout=30)
    assert outcome == ["refused"]


def test_entering_may_be_nested() -> None:
    """The thread is guarded until the outermost leave."""
    enter()
    enter()
    leave()
    with pytest.raises(NonDeterministicCall):
        time.time()
    leave()
    assert time.time() > 0


def test_leaving_without_entering_is_a_mistake() -> None:
    """leave() without its enter() raises AssertionError, and does not leave the thread unguarded."""
    with pytest.raises(AssertionError, match="without enter"):
        leave()


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_allowed_permits_every_call_in_its_block(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within `allowed()` every call passes, also nested; after it, or an exception, the thread is guarded again."""
    monkeypatch.setattr(guards, "_strict", mode)
    with guarded():
        with allowed():
            assert time.time() > 0
            assert dt.datetime.now(tz=dt.UTC).year > 2000
            assert pathlib.Path(os.devnull).read_text() == ""
            with guarded(), pytest.raises(NonDeterministicCall):
                time.time()
            assert not is_guarded()
        with pytest.raises(ZeroDivisionError), allowed():
            1 / 0
        with pytest.raises(NonDeterministicCall):
            time.time()


def test_installing_twice_changes_nothing() -> None:
    """install() is idempotent: functions are wrapped once."""
    before = time.time, random.random, os.urandom
    install()
    assert (time.time, random.random, os.urandom) == before
    assert time.time.__wrapped__.__class__ is types.BuiltinFunctionType


def test_wrapped_functions_are_not_bound_by_classes() -> None:
    """A class that keeps time.time as an attribute calls it without itself as an argument, as before."""

    class Stopwatch:
        clock = time.time
        pause = time.sleep

    assert Stopwatch().clock() > 0
    Stopwatch().pause(0)
    assert time.time.__name__ == "time"


LAZY_MODULE = """
import os, random, time, uuid
started = time.time()
token = os.urandom(4)
identity = uuid.uuid4()
chance = random.random()
with open(__file__) as file:
    own = file.read()
with open(os.path.join(os.path.dirname(__file__), "data.txt")) as file:
    data = file.read()
"""


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
@pytest.mark.parametrize("turn", ["first", "compiled"])
def test_importing_works_in_workflow_code(
    mode: bool, turn: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module may be imported lazily, from source or compiled, and may call anything while it is imported."""
    monkeypatch.setattr(guards, "_strict", mode)
    name = f"penstock_lazy_{turn}_{mode}"  # not a module of the engine, although its name begins like one
    (tmp_path / f"{name}.py").write_text(LAZY_MODULE)
    (tmp_path / "data.txt").write_text("some data")
    monkeypatch.syspath_prepend(str(tmp_path))
    if turn == "compiled":
        importlib.import_module(name)
        sys.modules.pop(name)
    with guarded():
        module = importlib.import_module(name)
        with pytest.raises(NonDeterministicCall):
            time.time()
    assert module.data == "some data"
    sys.modules.pop(name)


def test_functions_of_a_lazy_module_are_guarded_once_imported(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import excuses its module's calls only until it is done."""
    (tmp_path / "penstock_lazy_late.py").write_text("import time\ndef now():\n    return time.time()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with guarded():
        module = importlib.import_module("penstock_lazy_late")
        with pytest.raises(NonDeterministicCall, match=r"time\.time"):
            module.now()
    sys.modules.pop("penstock_lazy_late")


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_logging_works_in_workflow_code(mode: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard logging to a file opened late, and structlog with time stamps, write their lines."""
    monkeypatch.setattr(guards, "_strict", mode)
    logger = logging.Logger("workflow")
    handler = logging.FileHandler(tmp_path / "log.txt", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    lines = io.StringIO()
    struct = structlog.wrap_logger(
        structlog.PrintLogger(lines),
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.CallsiteParameterAdder(),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    with guarded():
        logger.warning("plain")
        try:
            raise ValueError("shown")
        except ValueError:
            logger.exception("with traceback")
            struct.info("structured", order="o-1", exc_info=True)
    handler.close()
    written = (tmp_path / "log.txt").read_text()
    assert "plain" in written
    assert "ValueError: shown" in written
    assert '"order": "o-1"' in lines.getvalue()
    assert "ValueError: shown" in lines.getvalue()


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_tracebacks_and_warnings_work_in_workflow_code(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback is formatted with its source lines, and a warning is shown, though both read source files."""
    monkeypatch.setattr(guards, "_strict", mode)
    import linecache

    linecache.clearcache()
    with guarded():
        try:
            raise ValueError("shown")
        except ValueError:
            text = traceback.format_exc()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            warnings.warn("careful", stacklevel=1)
            assert "careful" in str(warnings.formatwarning(seen[0].message, UserWarning, __file__, 1))
    assert 'raise ValueError("shown")' in text


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_pydantic_and_time_zones_work_in_workflow_code(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models defined and validated for the first time, and time zones read from disk work."""
    monkeypatch.setattr(guards, "_strict", mode)
    zoneinfo.ZoneInfo.clear_cache()
    with guarded():

        class Order(pydantic.BaseModel):
            id: uuid.UUID
            at: dt.datetime
            lines: list[Line]

        class Line(pydantic.BaseModel):
            sku: str

        Order.model_rebuild(_types_namespace={"Line": Line})
        order = Order.model_validate({"id": uuid.UUID(int=1), "at": 0, "lines": [{"sku": "a"}]})
        assert order.at.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")).hour == 1


def test_default_factories_are_workflow_code() -> None:
    """A pydantic default that makes an id or reads the clock is refused: it would differ on replay."""

    class Stamped(pydantic.BaseModel):
        id: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)

    class Timed(pydantic.BaseModel):
        at: float = pydantic.Field(default_factory=time.time)

    for model in (Stamped, Timed):
        with guarded(), pytest.raises(NonDeterministicCall):
            model()


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_an_event_loop_runs_under_guard(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio itself (timers, debug mode, tasks, timeouts) works on a guarded thread; its coroutines are guarded."""
    monkeypatch.setattr(guards, "_strict", mode)

    async def workflow() -> str:
        async with asyncio.timeout(30):
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))
        try:
            time.time()
        except NonDeterministicCall:
            return "refused"
        return "let through"

    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    try:
        with guarded():
            assert loop.run_until_complete(workflow()) == "refused"
    finally:
        loop.close()


def test_finalizers_may_clean_up(tmp_path: pathlib.Path) -> None:
    """An object finalized while workflow code runs may delete its files: the code does not choose that moment."""
    path = tmp_path / "left"

    class Owner:
        def __del__(self) -> None:
            os.remove(path)

    path.write_text("x")
    directory = tempfile.TemporaryDirectory(dir=tmp_path)
    owner = Owner()
    with guarded(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del owner
        del directory
    assert list(tmp_path.iterdir()) == []


def test_callbacks_of_the_garbage_collector_may_read_the_clock() -> None:
    """A collection that begins within workflow code calls `gc.callbacks`: the code does not choose that moment."""
    read: list[float] = []

    def callback(phase: str, _: dict[str, int]) -> None:
        read.append(time.time())

    gc.callbacks.append(callback)
    try:
        with guarded():
            gc.collect()
    finally:
        gc.callbacks.remove(callback)
    assert len(read) == 2


def called_by_engine(call: Callable[[], Any]) -> Any:
    """A function that runs `call` from a frame whose module is one of the engine's."""
    module = types.ModuleType("penstock.engine.core.pretended")
    exec("def run(call):\n    return call()\ndef clock():\n    import time\n    return time.time()", module.__dict__)
    return module.run(call), module.clock


@pytest.mark.parametrize("mode", [False, True], ids=["always", "strict"])
def test_the_engine_itself_is_excused(mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engine code called by workflow code may read the clock; workflow code that the engine runs may not."""
    monkeypatch.setattr(guards, "_strict", mode)
    _, clock = called_by_engine(lambda: None)
    with guarded():
        assert clock() > 0
        with pytest.raises(NonDeterministicCall):
            called_by_engine(lambda: time.time())


def test_a_program_that_never_installed_is_untouched() -> None:
    """Importing the module wraps nothing and hooks nothing; enter and leave are harmless then."""
    program = """
import time, random
before = time.time, random.random
from penstock.engine.execution import guards
assert (time.time, random.random) == before
with guards.guarded():
    time.time()
    open("/dev/null").close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_strict_mode_stays_installed() -> None:
    """A later install() without strict does not end strict mode; the interpreter ends without errors."""
    program = """
import datetime as dt
from penstock.engine.execution import guards
from penstock.schemas.errors import NonDeterministicCall
guards.install(strict=True)
guards.install()
guards.enter()
try:
    dt.datetime.now()
except NonDeterministicCall:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
