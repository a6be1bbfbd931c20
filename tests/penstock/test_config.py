"""Which setting wins, and what happens to one that has no meaning?"""

from pathlib import Path

import pytest

from penstock.cli.session import Session
from penstock.config import Settings, fields, load
from penstock.schemas.errors import SettingsError


def project(folder, text):
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_defaults(tmp_path):
    """With nothing said, the log is embedded in ./.penstock."""
    assert load(directory=tmp_path) == Settings(log="embedded:.penstock", namespace="default", log_level="info")


def test_precedence(tmp_path):
    """Flags beat the environment, which beats pyproject.toml, which beats defaults; each on its own field."""
    project(tmp_path, '[tool.penstock]\nnamespace = "file"\nlog-level = "error"\nprefix = "file"\n')
    environment = {"PENSTOCK_NAMESPACE": "environment", "PENSTOCK_PREFIX": "environment"}
    settings = load({"namespace": "flag", "prefix": None}, environment, tmp_path)
    assert (settings.namespace, settings.prefix, settings.log_level, settings.log) == (
        "flag", "environment", "error", "embedded:.penstock",
    )  # fmt: skip


def test_numbers_from_the_environment(tmp_path):
    """A number in the environment is read as one; an empty variable says nothing."""
    settings = load({}, {"PENSTOCK_SHARDS": "3", "PENSTOCK_NAMESPACE": ""}, tmp_path)
    assert (settings.shards, settings.namespace) == (3, "default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tool.penstock]\nnamespac = "x"', "unknown setting 'namespac'"),
        ("[tool.penstock]\nshards = -1", "the setting shards in [tool.penstock]"),
        ("[tool]\npenstock = 3", "must be a table"),
        ("[tool.penstock", "cannot be read as TOML"),
    ],
)
def test_a_bad_project_file(tmp_path, text, said):
    """What pyproject.toml gets wrong is named, with the file."""
    with pytest.raises(SettingsError) as raised:
        load(directory=project(tmp_path, text))
    assert said in str(raised.value)
    assert "pyproject.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "environment", "said"),
    [
        ({"log": "redis://x"}, {}, "the setting log in the arguments"),
        ({}, {"PENSTOCK_LOG": "embedded:"}, "PENSTOCK_LOG"),
        ({}, {"PENSTOCK_SHARDS": "many"}, "PENSTOCK_SHARDS"),
        ({"namespace": "a b"}, {}, "namespace"),
        ({"log_level": "loud"}, {}, "log_level"),
        ({"log_level": "loud"}, {}, "write one of debug, info, warning, error"),
    ],
)
def test_a_setting_without_meaning(tmp_path, flags, environment, said):
    """A value that cannot be is refused, naming where it was set."""
    with pytest.raises(SettingsError, match="has no meaning") as raised:
        load(flags, environment, tmp_path)
    assert said in str(raised.value)


def test_a_setting_of_the_command_line():
    """What a person wrote on the command line is told as of there."""
    session = Session()
    session.flags["log"] = "redis://x"
    with pytest.raises(SettingsError, match="the setting log in the command line has no meaning"):
        session.settings  # noqa: B018 - reading them is what fails


def test_other_tools_are_left_alone(tmp_path):
    """A pyproject.toml without our table changes nothing."""
    assert load(directory=project(tmp_path, "[tool.other]\nx = 1")) == Settings()


@pytest.mark.parametrize(
    ("log", "place"),
    [
        ("embedded:here", "here/state"),
        ("embedded:here/one.sqlite3", "here/one.sqlite3.state"),
        ("kafka://b:1,a?sasl.password=secret", ".penstock/b-1-a-9092/state"),
    ],
)
def test_where_state_lies(log, place, tmp_path, monkeypatch):
    """State lies beside an embedded log, and under .penstock by the name of a Kafka, without its secrets."""
    monkeypatch.chdir(tmp_path)
    assert load({"log": log}).state_path == tmp_path / place


def test_where_state_lies_when_told():
    """--data decides; a log in memory has its state there too."""
    assert load({"log": "embedded::memory:", "data": "x"}).state_path == Path("x")
    assert load({"log": "embedded::memory:"}).state_path is None


def test_every_setting_has_a_meaning():
    """The reference can be written from the settings themselves."""
    told = {name: (variable, meaning) for name, variable, meaning, _ in fields()}
    assert told["log_level"][0] == "PENSTOCK_LOG_LEVEL"
    assert all(meaning for _, meaning in told.values())
    assert set(told) == set(Settings.__struct_fields__)
