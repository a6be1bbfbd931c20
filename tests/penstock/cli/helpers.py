"""Check of error messages for the tests of commands."""

import re

LOGGED = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[")
"""Beginning of a log line: the engine that answers runs in the same process."""


def one_message(ended, *parts):
    assert ended.stdout == ""
    (message,) = [line for line in ended.stderr.splitlines() if not LOGGED.match(line)]
    assert message.startswith("penstock: ")
    for part in parts:
        assert part in message
