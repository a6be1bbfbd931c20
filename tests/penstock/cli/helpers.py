"""Check of error messages for the tests of commands."""


def one_message(ended, *parts):
    assert ended.stdout == ""
    assert ended.stderr.startswith("penstock: ")
    assert ended.stderr.count("\n") == 1
    for part in parts:
        assert part in ended.stderr
