"""Tests of the check of commit subjects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.commit_subject import BASE, LENGTH_MAX, ROOT, faults_of, main, subject_of, subjects_since

GIT_TIMEOUT_S = 30
IDENTITY = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip

GOOD = [
    "Add a rule against cycles",
    "Embed the log in the process",
    "Process due timers before inputs",
    "Bring results back after a crash",
    "Pass the clock to the shard",
    "Re-read the offsets after a takeover",
    "Focus the shell on the first run",
    "Merge branch 'tooling' into a branch with a very long name that git itself has written here",
    'Revert "Two steps fewer: a mark is made where it is committed, the earliest due is asked by attribute"',
    "A" + "d" * 60 + " a rule"[: LENGTH_MAX - 61],
]
BAD = [
    ("A test of the timeout gives the start its time", "imperative"),
    ("The run ends", "imperative"),
    ("It works", "imperative"),
    ("Two steps fewer in the committer", "imperative"),
    ("Added a rule", "imperative"),
    ("Adding a rule", "imperative"),
    ("Adds a rule", "imperative"),
    ("Imports in order", "imperative"),
    ("Decision 0010: the session time-out is 8 s", "imperative"),
    ("add a rule", "small letter"),
    ("engine: add a rule", "verb"),
    ("Ctrl-C ends a command", "verb"),
    ("0010 is decided", "verb"),
    ("Add a rule.", "full stop"),
    ("Fix", "one word"),
    ("", "one word"),
    ("Add " + "x" * (LENGTH_MAX - 3), "characters"),
]


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        env={**os.environ, **IDENTITY},
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
        check=True,
    )
    return done.stdout


def repository_with(folder: Path, *subjects: str) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet")
    for subject in subjects:
        git(folder, "commit", "--quiet", "--allow-empty", "-m", subject)
    return folder


@pytest.mark.parametrize("subject", GOOD)
def test_a_good_subject_has_no_fault(subject):
    """An imperative that fits, and what git writes itself, pass."""
    assert list(faults_of(subject)) == []


@pytest.mark.parametrize(("subject", "fault"), BAD)
def test_a_bad_subject_has_one_fault(subject, fault):
    """Each breach of the rule is named, and only that one."""
    (found,) = faults_of(subject)
    assert fault in found


def test_faults_add_up():
    """A subject that breaks several rules gets a sentence for each."""
    assert len(list(faults_of("the " + "x" * LENGTH_MAX + "."))) == 3


def test_the_subject_is_the_first_line_that_is_no_comment():
    """Comments of git's and empty lines before the subject do not count, nor does the body after it."""
    assert subject_of("# Please enter\n\nAdd a rule\n\nThe body.\n") == "Add a rule"
    assert subject_of("# Please enter\n\n") == ""


def test_the_hook_reads_the_message_file(tmp_path, capsys):
    """With a file, the exit code says whether its subject passes, and stderr names the fault."""
    message = tmp_path / "COMMIT_EDITMSG"
    message.write_text("Add a rule\n", "utf-8")
    assert main([str(message)]) == 0
    message.write_text("Added a rule\n", "utf-8")
    assert main([str(message)]) == 1
    assert "'Added a rule': the subject begins with 'Added'" in capsys.readouterr().err


def test_commits_up_to_the_base_are_not_checked(tmp_path):
    """Only what follows the base counts, the newest first."""
    repository = repository_with(tmp_path / "whole", "Old words.", BASE, "Add one", "Add two")
    assert subjects_since(BASE, repository) == ["Add two", "Add one"]


def test_merges_are_not_checked(tmp_path):
    """A merge's subject is git's; the commits that it brings are checked."""
    repository = repository_with(tmp_path / "merged", BASE, "Add one")
    git(repository, "checkout", "--quiet", "-b", "side", "HEAD~1")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "Add two")
    git(repository, "merge", "--quiet", "--no-ff", "-m", "merged.", "-")
    assert sorted(subjects_since(BASE, repository)) == ["Add one", "Add two"]


def test_a_shallow_clone_without_the_base_is_checked_whole(tmp_path):
    """Where the history was cut off after the base, every commit that is there counts."""
    repository = repository_with(tmp_path / "whole", "Old words.", BASE, "Add one", "Add two")
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{repository}", "shallow")
    assert subjects_since(BASE, tmp_path / "shallow") == ["Add two", "Add one"]


def test_a_history_without_the_base_is_checked_at_its_end(tmp_path):
    """Where the base never was, HEAD alone counts; where there is no history, nothing."""
    repository = repository_with(tmp_path / "other", "Old words.", "Add one")
    assert subjects_since(BASE, repository) == ["Add one"]
    (tmp_path / "archive").mkdir()
    assert subjects_since(BASE, tmp_path / "archive") == []


def test_the_commits_of_this_tree_pass():
    """Every commit since the base has a subject that keeps the rule."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.commit_subject"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
