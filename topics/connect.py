"""Opening of a log by its URL.

- `embedded:FOLDER` or `embedded:FILE.sqlite3`: one SQLite file on this machine (in a folder: `log.sqlite3`);
- `embedded::memory:`: a log in memory, which exists as long as the returned object;
- `kafka://host:port,host:port?property=value&…`: Kafka; the properties are librdkafka's, such as `sasl.username`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from penstock.schemas.errors import SettingsError
from penstock.topics.log import Log

FILE_NAME = "log.sqlite3"
FILE_SUFFIXES = (".sqlite3", ".sqlite", ".db")
PORT_DEFAULT = 9092


def connect(url: str) -> Log:
    """Open the log at `url`. Raises SettingsError if the URL is invalid, LogUnavailable."""
    # Imported late: a program that uses one log does not need the libraries of the other.
    if _kind(url) == "embedded":
        from penstock.topics.embedded import EmbeddedLog

        return EmbeddedLog(embedded_path(url))
    servers, properties = kafka_address(url)
    from penstock.topics.kafka import KafkaLog

    return KafkaLog(servers, properties)


def check_url(url: str) -> None:
    """Validate a log URL without opening the log. Raises SettingsError."""
    _ = embedded_path(url) if _kind(url) == "embedded" else kafka_address(url)


def embedded_path(url: str) -> str:
    """The absolute path of the file of an `embedded:` URL, or `:memory:`. Raises SettingsError."""
    rest = url.removeprefix("embedded:")
    if rest == ":memory:":
        return rest
    if not rest or rest.startswith(":"):
        raise SettingsError(f"{url!r} has no path: write embedded:PATH, or embedded::memory: for a log in memory")
    path = Path(rest).expanduser().absolute()
    is_file = path.is_file() or (path.suffix in FILE_SUFFIXES and not path.is_dir())
    return str(path if is_file else path / FILE_NAME)


def kafka_address(url: str) -> tuple[str, dict[str, str]]:
    """Bootstrap servers (each with its port) and client properties of a `kafka://` URL. Raises SettingsError."""
    parts = urlsplit(url)
    if not url.startswith("kafka://") or not parts.netloc or parts.path not in ("", "/") or parts.fragment:
        raise SettingsError(f"{url!r} is not a Kafka URL: write kafka://HOST:PORT,HOST:PORT")
    if "@" in parts.netloc:
        raise SettingsError("a Kafka URL takes credentials as properties: kafka://HOST:PORT?sasl.username=…")
    servers = [_server(url, server) for server in parts.netloc.split(",")]
    try:
        properties = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError as error:
        raise SettingsError(f"the properties in {url!r} cannot be parsed: write ?name=value&name=value") from error
    return ",".join(servers), dict(properties)


def _kind(url: str) -> str:
    kind, colon, _ = url.partition(":")
    if not colon or kind not in ("embedded", "kafka"):
        raise SettingsError(f"{url!r} is not a log URL: write embedded:PATH or kafka://HOST:PORT,HOST:PORT")
    return kind


def _server(url: str, server: str) -> str:
    host, _, port = server.rpartition(":") if ":" in server.rsplit("]", 1)[-1] else (server, "", str(PORT_DEFAULT))
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise SettingsError(f"{server!r} in {url!r} is not a server: write HOST:PORT")
    return f"{host}:{port}"
