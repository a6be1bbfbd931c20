"""Tests of `namespace show` and `namespace raise`."""

import json

from penstock.config import Settings
from penstock.hosting.membership import announcement
from penstock.schemas.values.levels import LEVEL
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.members import Membership


def test_show(run):
    """show prints the level and the live processes with what they host, as text and as JSON."""
    text = run("namespace", "show").stdout
    assert f"namespace cli, feature level {LEVEL}" in text
    assert "cli-trial" in text
    shown = json.loads(run("namespace", "show", "--output", "json").stdout)
    (member,) = shown["members"]
    assert (shown["level"], member["workflows"]["cli-trial"], "double" in member["activities"]) == (LEVEL, 1, True)


def test_raise(run, namespace):
    """A level that a live process does not know is refused with its name; without one there is nothing to do."""
    assert f"has feature level {LEVEL}, the highest that all processes know" in run("namespace", "raise").stderr
    ended = run("namespace", "raise", "--to", "2", code=2)
    assert "level 2 is not known to" in ended.stderr
    assert "replace that process by a newer build first" in ended.stderr


def test_the_observer_leaves_no_trace(run, namespace):
    """The verbs read the members as one of them, and are none afterwards."""
    before = json.loads(run("namespace", "show", "--output", "json").stdout)["members"]
    log = connect(namespace)
    member = Membership(log, Topics("cli"), announcement(Settings(namespace="cli")))
    member.join(observe=True)
    assert len(member.others(admitted=False)) == len(before)
    member.leave()
    log.close()
