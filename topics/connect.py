"""Which log does a URL mean?

- `embedded:FOLDER` or `embedded:FILE.sqlite3`: one SQLite file on this machine (in a folder: `log.sqlite3`);
- `embedded::memory:`: a log that lives and ends with the returned object;
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
    """Open the log that the URL names. Raises SettingsError (no such kind of URL), LogUnavailable."""
    kind, colon, _ = url.partition(":")
    if not colon or kind not in ("embedded", "kafka"):
        raise SettingsError(f"{url!r} names no log: write embedded:PATH or kafka://HOST:PORT,HOST:PORT")
    # Imported late: who runs without a broker need not load its client, and the other way round.
    if kind == "embedded":
        from penstock.topics.embedded import EmbeddedLog

        return EmbeddedLog(embedded_path(url))
    servers, properties = kafka_address(url)
    from penstock.topics.kafka import KafkaLog

    return KafkaLog(servers, properties)


def embedded_path(url: str) -> str:
    """The file that an `embedded:` URL names, or `:memory:`. Raises SettingsError."""
    rest = url.removeprefix("embedded:")
    if rest == ":memory:":
        return rest
    if not rest or rest.startswith(":"):
        raise SettingsError(f"{url!r} names no file: write embedded:PATH, or embedded::memory: for none")
    path = Path(rest).expanduser().absolute()
    is_file = path.is_file() or (path.suffix in FILE_SUFFIXES and not path.is_dir())
    return str(path if is_file else path / FILE_NAME)


def kafka_address(url: str) -> tuple[str, dict[str, str]]:
    """Bootstrap servers (each with its port) and client properties of a `kafka://` URL. Raises SettingsError."""
    parts = urlsplit(url)
    if not url.startswith("kafka://") or not parts.netloc or parts.path not in ("", "/") or parts.fragment:
        raise SettingsError(f"{url!r} names no Kafka: write kafka://HOST:PORT,HOST:PORT")
    if "@" in parts.netloc:
        raise SettingsError("a Kafka URL takes credentials as properties: kafka://HOST:PORT?sasl.username=…")
    servers = [_server(url, server) for server in parts.netloc.split(",")]
    try:
        properties = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError as error:
        raise SettingsError(f"the properties in {url!r} cannot be read: write ?name=value&name=value") from error
    return ",".join(servers), dict(properties)


def _server(url: str, server: str) -> str:
    host, _, port = server.rpartition(":") if ":" in server.rsplit("]", 1)[-1] else (server, "", str(PORT_DEFAULT))
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise SettingsError(f"{server!r} in {url!r} is no server: write HOST:PORT")
    return f"{host}:{port}"
