"""Tests of settings: precedence, and the messages for invalid ones."""

from pathlib import Path

import pytest

from penstock.cli.command import Invocation
from penstock.config import Settings, fields, load
from penstock.schemas.errors import SettingsError


def project(folder, text):
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_defaults(tmp_path):
    """By default the log is embedded in ./.penstock."""
    assert load(directory=tmp_path) == Settings(log="embedded:.penstock", namespace="default", log_level="info")


def test_precedence(tmp_path):
    """Flags override the environment, that pyproject.toml, that the defaults; each field by itself."""
    project(tmp_path, '[tool.penstock]\nnamespace = "file"\nlog-level = "error"\nprefix = "file"\n')
    environment = {"PENSTOCK_NAMESPACE": "environment", "PENSTOCK_PREFIX": "environment"}
    settings = load({"namespace": "flag", "prefix": None}, environment, tmp_path)
    assert (settings.namespace, settings.prefix, settings.log_level, settings.log) == (
        "flag", "environment", "error", "embedded:.penstock",
    )  # fmt: skip


def test_numbers_from_the_environment(tmp_path):
    """A number in the environment is converted; an empty variable is ignored."""
    settings = load({}, {"PENSTOCK_SHARDS": "3", "PENSTOCK_NAMESPACE": ""}, tmp_path)
    assert (settings.shards, settings.namespace) == (3, "default")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tool.penstock]\nnamespac = "x"', "unknown setting 'namespac'"),
        ("[tool.penstock]\nshards = -1", "the setting shards in [tool.penstock]"),
        ("[tool]\npenstock = 3", "must be a table"),
        ("[tool.penstock", "cannot be read as TOML"),
    ],
)
def test_a_bad_project_file(tmp_path, text, message):
    """The message for an invalid pyproject.toml has the mistake and the file."""
    with pytest.raises(SettingsError) as raised:
        load(directory=project(tmp_path, text))
    assert message in str(raised.value)
    assert "pyproject.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ({"log": "redis://x"}, {}, "the setting log in the arguments"),
        ({}, {"PENSTOCK_LOG": "embedded:"}, "PENSTOCK_LOG"),
        ({}, {"PENSTOCK_SHARDS": "many"}, "PENSTOCK_SHARDS"),
        ({"namespace": "a b"}, {}, "namespace"),
        ({"log_level": "loud"}, {}, "log_level"),
        ({"log_level": "loud"}, {}, "write one of debug, info, warning, error"),
        ({}, {"PENSTOCK_READS": "kafka"}, "PENSTOCK_READS is invalid ('kafka')"),
        ({"reads": ""}, {}, "write one of auto, http, log"),
    ],
)
def test_invalid_settings(tmp_path, flags, environment, message):
    """An invalid value is refused with a message that names where it was set."""
    with pytest.raises(SettingsError, match="is invalid") as raised:
        load(flags, environment, tmp_path)
    assert message in str(raised.value)


def test_an_invalid_flag():
    """The message for an invalid flag names the command line."""
    invocation = Invocation()
    invocation.flags["log"] = "redis://x"
    with pytest.raises(SettingsError, match="the setting log in the command line is invalid"):
        invocation.settings  # noqa: B018 - the access raises


def test_tables_of_other_tools(tmp_path):
    """A pyproject.toml without [tool.penstock] changes nothing."""
    assert load(directory=project(tmp_path, "[tool.other]\nx = 1")) == Settings()


@pytest.mark.parametrize(
    ("log", "path"),
    [
        ("embedded:here", "here/state"),
        ("embedded:here/one.sqlite3", "here/one.sqlite3.state"),
        ("kafka://b:1,a?sasl.password=secret", ".penstock/b-1-a-9092/state"),
    ],
)
def test_state_path(log, path, tmp_path, monkeypatch):
    """State is beside an embedded log, or under .penstock by the address of a Kafka, without its secrets."""
    monkeypatch.chdir(tmp_path)
    assert load({"log": log}).state_path == tmp_path / path


def test_state_path_with_data():
    """--data is the state's directory, also for a log in memory."""
    assert load({"log": "embedded::memory:", "data": "x"}).state_path == Path("x")
    assert load({"log": "embedded::memory:"}).state_path is None


def test_descriptions_of_settings():
    """Every setting has an environment variable and a description."""
    described = {name: (variable, meaning) for name, variable, meaning, _ in fields()}
    assert described["log_level"][0] == "PENSTOCK_LOG_LEVEL"
    assert all(meaning for _, meaning in described.values())
    assert set(described) == set(Settings.__struct_fields__)


def test_closed_kept_is_a_duration():
    """`closed_kept` is seven days by default, and anything but a duration is an error that names the setting."""
    assert load().closed_kept_ms == 7 * 86_400_000
    assert load({}, {"PENSTOCK_CLOSED_KEPT": "36h"}).closed_kept_ms == 36 * 3_600_000
    with pytest.raises(SettingsError, match=r"closed_kept in the environment variable PENSTOCK_CLOSED_KEPT is invalid"):
        load({}, {"PENSTOCK_CLOSED_KEPT": "a week"})


def test_closed_kept_by_status():
    """`closed_kept` has a time for all statuses, for some, or both; a text that is neither is one sentence."""
    settings = load({}, {"PENSTOCK_CLOSED_KEPT": "failed=30d, 36h,cancelled = 1d"})
    assert settings.closed_kept_ms == 36 * 3_600_000
    assert settings.closed_kept_by_status == {"failed": 30 * 86_400_000, "cancelled": 86_400_000}
    assert load({"closed_kept": "failed=30d"}, {}).closed_kept_ms == 7 * 86_400_000
    for text, sentence in (
        ("faild=1d", "'faild' is no status of a closed run; write one of completed, failed"),
        ("1d, 2d", "several times for all statuses"),
        ("failed=soon", "soon"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            load({"closed_kept": text}, {})
