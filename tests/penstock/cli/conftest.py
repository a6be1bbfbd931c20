"""A running namespace for the tests of commands."""

import pytest
from click.testing import CliRunner

from penstock.cli.root import penstock
from penstock.client.sync import LoopThread
from penstock.hosting.engine import Engine

WORKFLOWS = """
from typing import TypedDict

from penstock import Signal, activity, workflow

go = Signal("go", int)

@activity(retries=0)
async def double(number: int) -> int:
    if number < 0:
        raise ValueError("too small")
    return 2 * number

@workflow(name="cli-trial")
async def trial(number: int) -> int:
    return await double(number)

class Order(TypedDict):
    id: str
    number: int

@workflow(name="cli-order")
async def order(order: Order) -> int:
    return await go.wait()

@workflow(name="cli-waits")
async def waits() -> int:
    return await go.wait()

@workflow(name="cli-ticket")
async def ticket() -> int:
    return await go.wait()

@workflow(name="cli-claim")
class CliClaim:
    def __init__(self) -> None:
        self.amount = 1

    @workflow.run
    async def run(self) -> int:
        return await go.wait()

    @workflow.query
    def status(self) -> int:
        return self.amount

    @workflow.update
    def amend(self, amount: int) -> int:
        if amount < 0:
            raise ValueError("too little")
        self.amount += amount
        return self.amount
"""


@pytest.fixture(scope="package")
def namespace(tmp_path_factory):
    """Run a namespace on an embedded log; yields the log's URL."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "cli_trial_workflows.py").write_text(WORKFLOWS)
    engine = Engine([str(folder / "cli_trial_workflows.py")], f"embedded:{folder}/log", namespace="cli")
    loop = LoopThread()
    loop.run(engine.__aenter__())
    loop.run(engine.client.list())  # wait until it serves, so that no test captures log lines of the start
    yield f"embedded:{folder}/log"
    loop.run(engine.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def run(namespace):
    """Return a function that runs a command on the namespace."""

    def typed(*words, code=0, stdin=None):
        ended = CliRunner().invoke(penstock, [*words, "--log", namespace, "--namespace", "cli"], input=stdin)
        assert ended.exit_code == code, (ended.stdout, ended.stderr)
        return ended

    return typed
