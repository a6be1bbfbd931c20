"""Tests of `dead-letters`."""

import json

from penstock.topics import connect as connect_module


def test_dead_letters(run, namespace):
    """A command that cannot be decoded is listed, shown, replayed (and refused again) and discarded."""
    from penstock.topics.catalogue import Topics
    from penstock.topics.log import Record
    from penstock.topics.publishing import publish

    log, topics = connect_module.connect(namespace), Topics("cli")
    publish(log, [Record(topics.commands, 0, b"order-1", b"\x01rubbish")], 10)

    def listed(*words, count):
        for _ in range(200):
            found = json.loads(run("dead-letters", "list", "--output", "json", *words).stdout)
            if len(found) == count:
                return found
        raise AssertionError(f"waited for {count} dead letters, there are {found}")

    (letter,) = listed(count=1)
    assert (letter["reason"], letter["topic"], letter["key"]) == ("undecodable", topics.commands, "order-1")
    assert "rubbish" in run("dead-letters", "show", letter["letter"]).stdout
    run("dead-letters", "replay", letter["letter"])
    assert {one["done"] for one in listed("--done", count=2)} == {"replayed", ""}
    run("dead-letters", "discard", "--all")
    assert run("dead-letters", "list").stderr == "no dead letters\n"
    log.close()
