"""Tests of log URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.schemas.errors import LogUnavailable, SettingsError
from penstock.topics.connect import connect, embedded_path, kafka_address
from penstock.topics.log import TopicSpec


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9092",
        "redis://localhost",
        "embedded",
        "embedded:",
        "embedded::ram:",
        "kafka:localhost:9092",
        "kafka://",
        "kafka://host:port",
        "kafka://host:0",
        "kafka://a:1,,b:2",
        "kafka://host:9092/topic",
        "kafka://user:secret@host:9092",
        "kafka://host:9092?sasl.username",
    ],
)
def test_a_bad_url_is_explained(url: str) -> None:
    """An invalid URL raises SettingsError with a message that says what to write."""
    with pytest.raises(SettingsError, match=r"write|takes"):
        connect(url)


def test_credentials_in_a_bad_url_are_not_repeated() -> None:
    """The error about a password in the wrong place does not show the password."""
    with pytest.raises(SettingsError) as caught:
        connect("kafka://user:secret@host:9092")
    assert "secret" not in str(caught.value)


def test_kafka_addresses_and_properties() -> None:
    """Servers get the default port where none is given; the query is librdkafka's properties, unquoted."""
    assert kafka_address("kafka://a:1,b") == ("a:1,b:9092", {})
    assert kafka_address("kafka://[::1]:9093/") == ("[::1]:9093", {})
    url = "kafka://h:9092?sasl.username=ann&sasl.password=p%26q&ssl.ca.location="
    assert kafka_address(url) == ("h:9092", {"sasl.username": "ann", "sasl.password": "p&q", "ssl.ca.location": ""})


def test_an_embedded_path_is_a_folder_or_a_file(tmp_path: Path) -> None:
    """A folder gets `log.sqlite3`; a name with a database's suffix, or an existing file, is the file itself."""
    (tmp_path / "plain").write_bytes(b"")
    assert embedded_path(f"embedded:{tmp_path}/data") == f"{tmp_path}/data/log.sqlite3"
    assert embedded_path(f"embedded:{tmp_path}/my.db") == f"{tmp_path}/my.db"
    assert embedded_path(f"embedded:{tmp_path}/plain") == f"{tmp_path}/plain"
    assert embedded_path("embedded::memory:") == ":memory:"
    assert embedded_path("embedded:.penstock") == str(Path.cwd() / ".penstock" / "log.sqlite3")


def test_connecting_makes_the_folder(tmp_path: Path) -> None:
    """The folder of an embedded log is made, and a second connection finds what the first wrote."""
    first = connect(f"embedded:{tmp_path}/deep/down")
    first.create([TopicSpec("t", 2, {})])
    first.close()
    second = connect(f"embedded:{tmp_path}/deep/down/log.sqlite3")
    assert second.describe()["t"].partitions == 2
    second.close()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """A path below a file raises LogUnavailable that says what to do."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LogUnavailable, match="choose another path"):
        connect(f"embedded:{tmp_path}/file/log.sqlite3")


def test_a_file_that_is_no_log_is_explained(tmp_path: Path) -> None:
    """Neither a text file nor a foreign database is modified."""
    text = tmp_path / "text.sqlite3"
    text.write_text("something else entirely, and long enough to be looked at " * 20)
    with pytest.raises(LogUnavailable, match="use another file"):
        connect(f"embedded:{text}")
    assert text.read_text().startswith("something else")
