"""Tests of the documents: links lead somewhere, pages made from code are current, examples compile and run."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from penstock import __all__ as exported
from penstock.cli.root import penstock as command_line
from tools import import_graph
from tools import reference as reference_tool

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda path: str(path.relative_to(ROOT)))
WRITTEN = [path for path in DOCUMENTS if "docs/reference" not in str(path)]
VERB_TIMEOUT_S = 30
IMPORT_TIMEOUT_S = 60
RESULT_TIMEOUT_S = 90
RUN_EXAMPLES = """
import importlib, sys
for name in sys.argv[1:]:
    for word, value in list(vars(importlib.import_module(name)).items()):
        if word.startswith("test_"):
            value()
"""
# One workflow of a block on an engine of its own; prints what came of it and which activities it asked for.
RUN_WORKFLOW = """
import asyncio, importlib, json, sys
from penstock import WorkflowError
from penstock.testing import TestEngine

async def main(module, workflow, given):
    async with TestEngine(importlib.import_module(module)) as engine:
        run = await engine.client.start_by_name(workflow, given.encode(), "guide")
        for _hour in range(50):  # not all at once: a closed run is kept for a day
            await engine.skip("1h")
            if (await run.describe())["status"] != "running":
                break
        try:
            came = await run.result("10s")
        except WorkflowError as error:
            came = str(error)
        asked = [event["activity"] for event in await run.history() if event["event"] == "ActivityScheduled"]
        print(json.dumps([came, asked]))

asyncio.run(main(*sys.argv[1:]))
"""
# What the guides say of their workflows: document, workflow, input, outcome, activities asked for.
STORIES = [
    (
        "retries-and-timeouts", "buy", {"order_id": "1", "total": 12.5},
        ["1 will be there on Monday", "12.50 paid for 1"], ["ask_the_supplier", "charge"],
    ),
    (
        "retries-and-timeouts", "buy", {"order_id": "1", "total": 2000},
        "CardDeclined: 2000.00 is too much for this card", ["ask_the_supplier", "charge"],
    ),
    ("retries-and-timeouts", "pay", {"order_id": "1", "total": 12.5}, "paid", ["charge"]),
    ("retries-and-timeouts", "pay", {"order_id": "1", "total": 2000}, "declined", ["charge"]),
    ("retries-and-timeouts", "best_quote", ["north", "south"], 8.0, ["quote"] * 2),
    ("retries-and-timeouts", "best_quote", ["north", "south", "west"], 8.0, ["quote"] * 3),
    (
        "sagas", "fulfil", {"order_id": "1", "skus": ["lamp", "desk"], "total": 12.5},
        "12.50 paid for 1", ["reserve", "reserve", "charge"],
    ),
    (
        "sagas", "fulfil", {"order_id": "1", "skus": ["lamp", "desk"], "total": 2000},
        "ConnectionError: the bank does not answer",
        ["reserve", "reserve", "charge", "refund", "release", "release"],
    ),
    ("testing", "send", "lamp", "lamp is on its way", ["check_stock", "ship"]),
    ("child-workflows", "deliver", {"order_id": "1", "parcels": 2}, ["track-1-0", "track-1-1"], []),
    ("signals", "publish", "news", "no decision within two days", []),
    ("getting-started", "greet", "Ann", ["Hello, Ann", "Guten Tag, Ann"], ["greeting", "greeting"]),
]  # fmt: skip


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(path: Path) -> Iterator[tuple[str, str]]:
    """(file, anchor) of every link that does not leave the repository; an empty file means the page itself."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(path: Path) -> set[str]:
    """The anchors that a forge makes of headings: lower case, punctuation gone, blanks to hyphens."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text("utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    """Every link inside the repository names a file that exists, and a heading that is in it."""
    for file, anchor in links(path):
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{name_of(path)} links to {file}"
        assert not anchor or anchor in anchors(target), f"{name_of(path)} links to {file}#{anchor}"


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_paths_exist(path):
    """Every path of our folders that a document names in code type exists."""
    named = re.findall(
        r"`((?:docs|tests|schemas|engine|topics|workers|penstock|examples|bench|tools)/[\w/.\-]*)`",
        path.read_text("utf-8"),
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing, f"{name_of(path)} names {missing}"


@pytest.mark.parametrize("path", [path for path in WRITTEN if blocks(path, "python")], ids=name_of)
def test_examples_hold(path, tmp_path):
    """Every Python block of a document can be imported, and its test functions pass."""
    modules = [save(tmp_path, number, block) for number, block in enumerate(blocks(path, "python"), 1)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_EXAMPLES, *modules],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=IMPORT_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{name_of(path)}: {done.stderr}"


@pytest.mark.parametrize("path", [path for path in WRITTEN if blocks(path, "python")], ids=name_of)
def test_examples_have_bodies(path):
    """No function in a Python block of a document has `...` for a body: its result would not be what it declares."""
    functions = [
        node
        for block in blocks(path, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    empty = [node.name for node in functions if ast.unparse(node.body[-1]) == "..."]
    assert not empty, f"{name_of(path)}: {empty}"


@pytest.mark.parametrize(
    ("guide", "workflow", "given", "outcome", "asked"), STORIES, ids=[f"{story[0]}-{story[1]}" for story in STORIES]
)
def test_workflows_of_the_guides_do_what_is_written(tmp_path, guide, workflow, given, outcome, asked):
    """A workflow of a guide, run as it stands there, ends as the guide says, by the activities that it says."""
    (block,) = [
        block
        for block in blocks(ROOT / "docs" / "guides" / f"{guide}.md", "python")
        if f"async def {workflow}(" in block
    ]
    (tmp_path / "example.py").write_text(block, "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUN_WORKFLOW, "example", workflow, json.dumps(given)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RESULT_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    came, did = json.loads(done.stdout.splitlines()[-1])
    assert outcome in came if isinstance(came, str) else came == outcome
    assert did == asked


def save(folder: Path, number: int, block: str) -> str:
    """Write a block under the file name in its first line, without calls at its top level."""
    named = re.match(r"# (\w+)\.py\n", block)
    name = named[1] if named else f"block_{number}"
    tree = ast.parse(block)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))]
    (folder / f"{name}.py").write_text(ast.unparse(tree), "utf-8")
    return name


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return reference_tool


def test_reference_pages_are_current(reference):
    """docs/reference is what `make reference` would write now."""
    stale = [name for name, text in reference.pages() if (reference.REFERENCE / name).read_text("utf-8") != text]
    assert not stale, f"run `make reference`: {stale}"


def test_reference_has_no_orphans(reference):
    """Every page under docs/reference is one that `make reference` writes."""
    assert {path.name for path in reference.REFERENCE.iterdir()} == {name for name, _ in reference.pages()}


def test_the_drawn_rooms_import_each_other_in_no_circle():
    """The graph in docs/reference/imports.svg has no circle, so every arrow in it points down."""
    assert not import_graph.circle(import_graph.room_imports(import_graph.module_imports()))
    assert 'class="way against"' not in (ROOT / "docs" / "reference" / "imports.svg").read_text("utf-8")


def test_every_record_is_in_the_reference(reference):
    """The page of records has a section for each schema."""
    (page,) = [text for name, text in reference.pages() if name == "records.md"]
    schemas = {path.name.split(".")[0] for path in (ROOT / "schemas" / "avro").glob("*.avsc")}
    sections = set(re.findall(r"^### (\w+)$", page, flags=re.MULTILINE))
    assert schemas == sections


def test_every_public_name_is_in_the_reference(reference):
    """Whatever `penstock` exports has a heading on the page of Python, or a row on the page of errors."""
    pages = dict(reference.pages())
    headings = set(re.findall(r"^### (\w+)$", pages["python.md"], flags=re.MULTILINE))
    errors = set(re.findall(r"^\| `(\w+)`", pages["errors.md"], flags=re.MULTILINE))
    assert set(exported) <= headings | errors
    assert not headings & errors


def test_what_the_reference_leaves_out_exists(reference):
    """Each member that the page of Python leaves out is one that its class still has."""
    classes = dict(reference._found(name) for _, _, names in reference.PYTHON for name in names)
    left_out = [name.split(".") for name in reference.INSIDE]
    assert all(member in vars(classes[owner]) for owner, member in left_out)


def test_error_tree_names_every_error():
    """The tree drawn at the top of schemas/errors.py has exactly the classes that follow it."""
    errors = load(ROOT / "schemas" / "errors.py")
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    lines = [re.sub(r"  +[a-z(].*", "", line) for line in tree.splitlines()]
    drawn = set(re.findall(r"[A-Z]\w+", "\n".join(lines))) - set(dir(builtins))
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and not name.startswith("_")}
    assert drawn == {name for name in defined if issubclass(getattr(errors, name), errors.PenstockError)}


def test_decisions_are_listed():
    """docs/decisions/README.md lists every decision, under its number, and no other."""
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"^\| \[(\d{4})\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"), flags=re.MULTILINE
    )
    assert sorted(file for _, file in listed) == sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert all(file.startswith(number) for number, file in listed)


def test_the_readme_lists_the_verbs_of_the_command_line():
    """The README's table names every verb of `penstock`."""
    listed = "".join(re.findall(r"^\| `penstock [^|]*\|", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE))
    missing = [verb for verb in command_line.commands if not re.search(rf"(`|penstock ){re.escape(verb)}\b", listed)]
    assert not missing, f"add {missing} to the table of verbs in README.md"


def test_make_help_lists_the_verbs():
    """`make help` names every verb that the README and CONTRIBUTING tell people to type."""
    written = {verb for path in WRITTEN for verb in re.findall(r"`make ([a-z-]+)", path.read_text("utf-8"))}
    said = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=VERB_TIMEOUT_S, check=True
    )
    assert written <= set(re.findall(r"^  make ([a-z-]+)", said.stdout, flags=re.MULTILINE))


def test_compose_and_tests_run_the_same_kafka():
    """docker-compose.yml starts the version of Kafka that the tests run on."""
    tested = re.search(
        r"<version>([\d.]+)</version>", (ROOT / "tests" / "kafka" / "pom.xml").read_text("utf-8").split("kafka_2.13")[1]
    )
    assert tested is not None
    assert f"image: apache/kafka:{tested[1]}\n" in (ROOT / "docker-compose.yml").read_text("utf-8")


def test_the_example_in_the_readme_is_short():
    """The workflow in the README has at most 25 lines of code."""
    (example,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 25


def test_the_example_in_the_readme_runs(tmp_path):
    """The README's workflow, saved and started as the README says, prints its result and shows its history."""
    (example,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "orders.py").write_text(example, "utf-8")
    (line,) = re.findall(
        r"^    (penstock start .*--wait)$", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE
    )
    with (tmp_path / "dev.log").open("wb") as output:
        server = subprocess.Popen(penstock("dev", "orders.py"), cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_for("Ctrl-C", tmp_path / "dev.log", server)
        started = run_here(tmp_path, *shlex.split(line)[1:], "--timeout", "60s")
        assert started == '"12.50 paid for order-1"\n'
        assert "WorkflowCompleted" in run_here(tmp_path, "history", "order-1")
    finally:
        server.terminate()
        try:
            server.wait(VERB_TIMEOUT_S)
        finally:
            server.kill()


def penstock(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock", *arguments]


def run_here(folder: Path, *arguments: str) -> str:
    """What the command prints; fails the test with what it said when it fails."""
    done = subprocess.run(
        penstock(*arguments), cwd=folder, capture_output=True, text=True, timeout=RESULT_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"penstock {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_for(word: str, file: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait, within a bound, until the process has written the word to the file."""
    deadline = time.monotonic() + VERB_TIMEOUT_S
    while word not in file.read_text("utf-8"):
        assert process.poll() is None, f"it ended early: {file.read_text('utf-8')}"
        assert time.monotonic() < deadline, f"waited {VERB_TIMEOUT_S} s for {word!r}: {file.read_text('utf-8')}"
        time.sleep(0.05)
