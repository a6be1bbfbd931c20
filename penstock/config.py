"""Settings: from flags, then the environment, then pyproject.toml, then defaults; read once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from penstock.schemas.errors import BadDuration, BadInput, SettingsError
from penstock.schemas.values.kept import parse_kept
from penstock.topics.connect import FILE_NAME, check_url, embedded_path, kafka_address

MEMORY = ":memory:"
CLOSED_KEPT_MS = 7 * 86_400_000
NAME = r"^[A-Za-z0-9_-]+$"
DOTTED = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
LogUrl = Annotated[str, msgspec.Meta(min_length=1, description="URL of the log: embedded:PATH or kafka://host:port,…")]
Namespace = Annotated[str, msgspec.Meta(pattern=NAME, max_length=100, description="name of the deployment")]
Prefix = Annotated[str, msgspec.Meta(pattern=DOTTED, max_length=100, description="first part of every topic's name")]
Data = Annotated[str, msgspec.Meta(description="directory of the processors' state; empty: derived from the log")]
Shards = Annotated[int, msgspec.Meta(ge=0, le=10_000, description="shards of new topics; 0: 4 on Kafka, 1 embedded")]
Replication = Annotated[int, msgspec.Meta(ge=0, le=100, description="replicas of new topics; 0: the broker's default")]
Deadline = Annotated[
    float,
    msgspec.Meta(
        gt=0, le=3_600, description="seconds that workflow code may run without a wait before it is interrupted"
    ),
]
ClosedKept = Annotated[
    str,
    msgspec.Meta(
        description="how long closed runs, their ids and messages are kept: 36h, or by status, such as 7d, failed=30d"
    ),
]
RunCacheMb = Annotated[
    int, msgspec.Meta(ge=1, le=1_000_000, description="memory for the runs that a processor keeps at hand, in MB")
]
HistoryWarning = Annotated[
    int, msgspec.Meta(ge=1, le=10_000_000, description="events of a run after which its history is logged as long")
]
HistoryMax = Annotated[int, msgspec.Meta(ge=10, le=10_000_000, description="events of a run after which it fails")]
LogFormat = Annotated[
    Literal["console", "json"], msgspec.Meta(description="format of log lines: console (for people) or json")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], msgspec.Meta(description="lowest level that is logged")
]

ReadWay = Literal["auto", "http", "log"]
Reads = Annotated[
    ReadWay,
    msgspec.Meta(
        description="way of describe, history and list to the processors: http, log, or auto (http where one answers, "
        "otherwise the log)"
    ),
]

Build = Annotated[
    str, msgspec.Meta(max_length=100, description="build of the application, recorded in runs that start")
]
Application = Annotated[
    str,
    msgspec.Meta(
        max_length=100,
        description="name of the application, the same for all processes of a namespace; empty: any",
    ),
]


TokenKey = Annotated[
    str,
    msgspec.Meta(
        description="secret by which tokens of attempts are signed; several, separated by commas: the first one signs"
    ),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Each field is a flag, `PENSTOCK_<FIELD>` and a key of `[tool.penstock]`."""

    log: LogUrl = "embedded:.penstock"
    namespace: Namespace = "default"
    prefix: Prefix = "penstock"
    data: Data = ""
    shards: Shards = 0
    replication: Replication = 0
    build: Build = ""
    activation_deadline: Deadline = 30.0
    application: Application = ""
    closed_kept: ClosedKept = "7d"
    run_cache_mb: RunCacheMb = 256
    history_warning: HistoryWarning = 10_000
    history_max: HistoryMax = 50_000
    reads: Reads = "auto"
    token_key: TokenKey = ""
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"

    @property
    def closed_kept_ms(self) -> int:
        """`closed_kept` in milliseconds, of statuses that it does not name."""
        return parse_kept(self.closed_kept).others or CLOSED_KEPT_MS

    @property
    def closed_kept_by_status(self) -> Mapping[str, int]:
        """`closed_kept` in milliseconds, by the statuses that it names."""
        return parse_kept(self.closed_kept).by_status

    @property
    def state_path(self) -> Path | None:
        """Directory of the processors' state; None if it is in memory, like the log."""
        if self.data:
            return Path(self.data)
        if self.embedded:
            file = self.log_file
            return file and file.with_name("state" if file.name == FILE_NAME else f"{file.name}.state")
        servers, _ = kafka_address(self.log)  # without the properties, which may hold a password
        return Path(".penstock").absolute() / re.sub(r"[^A-Za-z0-9.]+", "-", servers).strip("-") / "state"

    @property
    def log_file(self) -> Path | None:
        """File of an embedded log; None for one in memory and for Kafka."""
        path = embedded_path(self.log) if self.embedded else MEMORY
        return None if path == MEMORY else Path(path)

    @property
    def in_memory(self) -> bool:
        """Whether the log is in this process's memory."""
        return self.embedded and self.log_file is None

    @property
    def embedded(self) -> bool:
        """Whether the log is a file (or memory) of this machine."""
        return self.log.startswith("embedded:")


def load(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    *,
    flags_origin: str = "the arguments",
) -> Settings:
    """Read the settings of this process.

    `flags`: values of the command line or the caller (None: not given); `flags_origin`: what error messages call them.
    Raises SettingsError, which names the setting and where it was set.
    """
    chosen: dict[str, Any] = {}
    chosen |= _from_project(directory or Path())
    chosen |= _from_environment(environment or {})
    chosen |= {name: value for name, value in (flags or {}).items() if value is not None}
    return _converted(chosen, flags_origin)


def fields() -> list[tuple[str, str, str, object]]:
    """Return every setting as (name, environment variable, meaning, default), for the reference."""
    hints = get_type_hints(Settings, include_extras=True)
    return [
        (field.name, environment_name(field.name), get_args(hints[field.name])[-1].description, field.default)
        for field in msgspec.structs.fields(Settings)
    ]


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting: `PENSTOCK_LOG_LEVEL` for `log_level`."""
    return f"PENSTOCK_{setting.upper()}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name in Settings.__struct_fields__:
        value = environment.get(environment_name(name), "")
        if value:  # shells pass an empty variable for one that is not set
            values[name] = value
            _converted({name: value}, f"the environment variable {environment_name(name)}")
    return values


def _from_project(directory: Path) -> dict[str, Any]:
    path = directory / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}") from error
    tools = document.get("tool")
    table = tools.get("penstock", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"[tool.penstock] in {path} must be a table of settings, not {type(table).__name__}")
    values = {str(name).replace("-", "_"): value for name, value in table.items()}
    unknown = sorted(set(values) - set(Settings.__struct_fields__))
    if unknown:
        known = ", ".join(Settings.__struct_fields__)
        raise SettingsError(f"[tool.penstock] in {path} has the unknown setting {unknown[0]!r}; use one of {known}")
    _converted(values, f"[tool.penstock] in {path}")
    return values


def _converted(values: Mapping[str, Any], where: str) -> Settings:
    try:
        settings = msgspec.convert(dict(values), Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at `$.")
        name = at.rstrip("`")
        hint = get_type_hints(Settings, include_extras=True).get(name)
        words = get_args(get_args(hint)[0]) if hint is not None else ()
        allowed = f"; write one of {', '.join(words)}" if words else ""
        raise SettingsError(
            f"the setting {name or 'given'} in {where} is invalid ({values.get(name)!r}): {reason}{allowed}"
        ) from error
    try:
        check_url(settings.log)
    except SettingsError as error:
        raise SettingsError(f"the setting log in {where} is invalid: {error}") from error
    try:
        parse_kept(settings.closed_kept)
    except (BadDuration, BadInput) as error:
        raise SettingsError(f"the setting closed_kept in {where} is invalid: {error}") from error
    return settings
