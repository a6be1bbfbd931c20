"""Tests of the list of features: its tests exist, and it names every way to talk to a run, and its tests."""

from __future__ import annotations

import inspect
import re
from itertools import groupby

import pytest

from penstock import Client, Run, workflow
from tools.features import ROOT, Feature, features
from tools.public_names import INSIDE, PYTHON

# Files whose tests are about talking to runs: each file is named by a row at least.
TALKING = (
    "tests/engine/authoring/test_chain.py",
    "tests/engine/authoring/test_class_form.py",
    "tests/engine/authoring/test_context.py",
    "tests/engine/authoring/test_logger.py",
    "tests/engine/authoring/test_signal.py",
    "tests/engine/authoring/test_waiting.py",
    "tests/engine/core/machines/test_*.py",
    "tests/engine/core/test_messages.py",
    "tests/engine/execution/test_interaction.py",
    "tests/engine/execution/test_program_cancellation.py",
    "tests/examples/test_interaction.py",
)
# What else the machines' tests are about.
OF_ITS_OWN = {
    "tests/engine/core/machines/test_timer.py": "timers, which every row uses",
    "tests/engine/core/machines/test_update_account.py": "updates of another class",
}

# Methods of other modules of Penstock, and the forms in JSON of others.
WITHOUT_A_ROW = {"Client.raise_on", "Run.query_json", "Run.result_of", "Run.signal_json", "Run.update_of"}


@pytest.mark.parametrize("feature", features(), ids=lambda feature: feature.says[:40])
def test_a_row_names_tests_that_exist(feature: Feature) -> None:
    """Each row has tests, and each of them is a function of the file that is named."""
    assert feature.tests
    for test in feature.tests:
        path, _, name = test.partition("::")
        found = re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE)
        assert found, f"there is no {test}"


def test_no_test_is_named_twice_by_a_row_and_no_group_is_split() -> None:
    """A row names a test once, and the rows of a group stand together."""
    assert all(len(set(feature.tests)) == len(feature.tests) for feature in features())
    groups = [group for group, _ in groupby(features(), key=lambda feature: feature.group)]
    assert len(groups) == len(set(groups))


def test_each_way_to_talk_to_a_run_is_in_a_row() -> None:
    """The rows name each method of Client and Run, each decorator of a method, and each name that workflow code asks
    its run by; and no name that is none of them, nor a public one."""
    named = {name for feature in features() for name in feature.names}
    assert _methods() | _decorators() | _names_of_workflows() <= named
    public = {name for _, _, names in PYTHON for name in names}
    assert named - _methods() - _decorators() <= public


def _methods() -> set[str]:
    found = {f"{kind.__name__}.{name}" for kind in (Client, Run) for name, _ in inspect.getmembers(kind, callable)}
    return {name for name in found if not name.partition(".")[2].startswith("_")} - INSIDE - WITHOUT_A_ROW


def _decorators() -> set[str]:
    return {f"workflow.{name}" for name in vars(type(workflow)) if not name.startswith("_")}


def _names_of_workflows() -> set[str]:
    (names,) = [names for title, _, names in PYTHON if title == "Workflows"]
    return {name for name in names if "." not in name} - {"CODE_ERRORS"}


def test_each_file_about_talking_to_runs_is_in_a_row() -> None:
    """A test file of the list that no row names, or that is gone, is noticed."""
    listed = {str(path.relative_to(ROOT)) for pattern in TALKING for path in ROOT.glob(pattern)}
    named = {test.partition("::")[0] for feature in features() for test in feature.tests}
    assert listed - named == OF_ITS_OWN.keys()
