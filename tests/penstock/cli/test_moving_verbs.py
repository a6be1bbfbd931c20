"""Tests of `export` and `import`: a run leaves a namespace as a file and arrives in another one."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from penstock.cli.root import penstock
from penstock.client.recorded import runs_in_file, runs_in_log
from penstock.client.sync import LoopThread, SyncClient
from penstock.hosting.engine import Engine
from penstock.schemas.errors import BadInput
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from tests.penstock.cli.test_act_verbs import one_message

CODE = """
from penstock import workflow

@workflow(name="moving-other")
async def other() -> None: ...
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Run another namespace, which hosts none of the types; yields the log's URL."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "moving_other.py").write_text(CODE)
    engine = Engine([str(folder / "moving_other.py")], f"embedded:{folder}/log", namespace="other")
    loop = LoopThread()
    loop.run(engine.__aenter__())
    loop.run(engine.client.list())
    yield f"embedded:{folder}/log"
    loop.run(engine.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def there(elsewhere):
    """Return a function that runs a command on the other namespace."""

    def typed(*words, code=0):
        ended = CliRunner().invoke(penstock, [*words, "--log", elsewhere, "--namespace", "other"])
        assert ended.exit_code == code, (ended.stdout, ended.stderr)
        return ended

    return typed


def test_a_closed_run_moves_to_another_namespace(run, there, elsewhere, tmp_path):
    """It can be shown, listed, replayed and awaited there, without its code; its id must be free."""
    run(
        "start",
        "cli-trial",
        "--id",
        "moves",
        "--input",
        "4",
        "--memo",
        '{"by": "ann"}',
        "--search",
        '{"tier": "gold"}',
        "--wait",
    )
    file = tmp_path / "moves.json"
    file.write_text(run("export", "moves").stdout)
    assert "moves was imported" in there("import", str(file), "--reason", "moved", "--by", "ann").stderr
    assert there("result", "moves").stdout.strip() == "8"
    assert there("history", "moves").stdout == run("history", "moves").stdout
    shown, before = (json.loads(on("show", "moves", "--output", "json").stdout) for on in (there, run))
    assert (shown["memo"], shown["search"], shown["status"]) == ({"by": "ann"}, before["search"], "completed")
    assert "moves" in there("list", "--status", "completed").stdout
    one_message(there("import", str(file), code=1), "moves has a run here")
    (from_file,) = runs_in_file(file)
    log = connect(elsewhere)
    (from_log,) = runs_in_log(log, Topics("other"), "moves")
    log.close()
    assert (from_log.records, from_log.closing) == (from_file.records, "WorkflowCompleted")
    assert from_log.run_id == from_file.run_id == shown["run_id"]


def test_a_file_that_was_changed_imports_nothing(run, there, tmp_path):
    """A changed value, a text that is no export, and an open run are one sentence each, and nothing is written."""
    run("start", "cli-trial", "--id", "stays", "--input", "4", "--wait")
    run("start", "cli-waits", "--id", "stays-open")
    text, file = run("export", "stays").stdout, tmp_path / "stays.json"
    for changed, sentence in (
        (text.replace('"input":4', '"input":5'), "This run was changed after it was exported"),
        (text[:-20], "is no exported run"),
        ("[]", "This is no exported run of this version"),
        (run("export", "stays-open").stdout, "was open when it was exported, and only closed runs are imported"),
    ):
        file.write_text(changed)
        one_message(there("import", str(file), code=2), sentence)
    one_message(there("import", str(tmp_path / "none.json"), code=2), "cannot be read: No such file")
    one_message(there("show", "stays", code=4), "There is no run with the id stays")
    assert runs_in_file(file)[0].closing == "", "an open run is a file for replay"


def test_a_sync_client_moves_runs(run, namespace, elsewhere):
    """`export_run` and `import_run` of SyncClient do the same; a changed document is refused."""
    run("start", "cli-trial", "--id", "synced", "--input", "1", "--wait")
    with SyncClient(namespace, namespace="cli") as origin, SyncClient(elsewhere, namespace="other") as target:
        document = origin.export_run("synced")
        assert target.import_run(json.loads(json.dumps(document))).result() == 2
        with pytest.raises(BadInput, match="its digest is another one"):
            target.import_run({**document, "workflow_id": "another"})
