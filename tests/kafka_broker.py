"""Kafka for tests: a broker as a plain Java process on this machine.

    with Broker() as broker:
        log = KafkaLog(broker.bootstrap)

One KRaft node, listening on the loopback address only, its data in a temporary directory. Maven fetches the jars once
into `.kafka`. The process ends with the one that started it, also if that is killed.

    python -m tests.kafka_broker start [--port N] [--data DIR]     a broker for developers and benchmarks
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not declare its exports
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "tests" / "kafka" / "pom.xml"
LOGGING = ROOT / "tests" / "kafka" / "log4j2.properties"
JARS = ROOT / ".kafka"
CLUSTER_ID = "cGVuc3RvY2stdGVzdHMtMQ"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 10.0
MAVEN_TIMEOUT_S = 300.0
LOG_TAIL_LINES = 40
PR_SET_PDEATHSIG = 1


class BrokerError(RuntimeError):
    """The broker cannot be started; the message says why and what to do."""


def deny_writes(bootstrap: str, topic: str) -> None:
    """Let the broker refuse records for a topic, until `allow_writes`."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.create_acls([_denial(topic)]).values():
        future.result(ANSWER_TIMEOUT_S)


def allow_writes(bootstrap: str, topic: str) -> None:
    """End `deny_writes`."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.delete_acls([_denial(topic, AclBindingFilter)]).values():
        future.result(ANSWER_TIMEOUT_S)


def deny_reads(bootstrap: str, topic: str) -> None:
    """Let the broker deliver no records of a topic, until `allow_reads`; as with any denial, it takes none either."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.create_acls([_denial(topic, operation=AclOperation.READ)]).values():
        future.result(ANSWER_TIMEOUT_S)


def allow_reads(bootstrap: str, topic: str) -> None:
    """End `deny_reads`."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.delete_acls([_denial(topic, AclBindingFilter, AclOperation.READ)]).values():
        future.result(ANSWER_TIMEOUT_S)


def _denial(topic: str, kind: type = AclBinding, operation: AclOperation = AclOperation.WRITE) -> Any:
    by_name = ResourceType.TOPIC, topic, ResourcePatternType.LITERAL
    return kind(*by_name, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY)


class Broker:
    """One Kafka node. `port` 0 takes a free one; without `data` it uses a temporary directory that `close` removes.

    It may be stopped, killed, paused and started again: port and data stay the same. The thread that calls `start`
    must outlive the broker: Linux ends a child with the thread that made it."""

    FIXED_SETTINGS: ClassVar[dict[str, str]] = {
        # One node cannot replicate: with the defaults (3) its transactions and groups would wait forever.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
        # Tests rebalance often and wait for timeouts.
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed can register again only when its last session is over.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "transaction.partition.verification.enable": "true",
        # Everything is allowed until a test denies it (`deny_writes`).
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        # A small machine, many short-lived topics.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": "16777216",
        "log.cleaner.backoff.ms": "500",
        "log.index.size.max.bytes": "1048576",
    }

    def __init__(self, *, port: int = 0, data: Path | None = None) -> None:
        self._temporary = data is None
        self._data = data or Path(tempfile.mkdtemp(prefix="penstock-kafka-"))
        self._port = port or _free_port()
        self._controller_port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the broker, which must be running."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Broker:
        """Start, and wait until the broker answers. Raises BrokerError with the end of the broker's log."""
        jars = fetch_jars()
        self._data.mkdir(parents=True, exist_ok=True)
        properties = self._data / "server.properties"
        properties.write_text(self._properties())
        if not (self._data / "log" / "meta.properties").exists():
            self._format(jars, properties)
        with (self._data / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*_java(jars, "-Xms256m", "-Xmx512m"), "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (one system call, no lock)
            )
        self._await_answer(timeout_s)
        return self

    def stop(self) -> None:
        """Stop it in order, by force after 20 s. `start` starts it again with its data."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        """Stop it and remove temporary data."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self._data, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would. `start` starts it again with its data."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open without answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Wait until the broker's process ends by itself."""
        assert self._process is not None, "the broker is not running"
        return self._process.wait()

    def log_tail(self) -> str:
        """The last lines of the broker's output."""
        path = self._data / "broker.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:]) or "(the broker printed nothing)"

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused process acts on nothing but SIGKILL before this
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def _format(self, jars: Path, properties: Path) -> None:
        command = [
            *_java(jars, "-XX:TieredStopAtLevel=1"),
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
            str(properties),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        if done.returncode:
            raise BrokerError(f"Kafka's StorageTool could not format {self._data}:\n{done.stdout}{done.stderr}")

    def _await_answer(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BrokerError(f"the Kafka broker ended at once; the end of its log:\n{self.log_tail()}")
            if _listens(self._port) and _answers(self.bootstrap):
                return
            time.sleep(0.1)
        self._end(signal.SIGKILL)
        raise BrokerError(f"the Kafka broker did not answer within {timeout_s} s; its log's end:\n{self.log_tail()}")

    def _properties(self) -> str:
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self._data / "log"),
            **self.FIXED_SETTINGS,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def fetch_jars() -> Path:
    """Directory with Kafka's jars; Maven copies them there at first use. Raises BrokerError."""
    libs = JARS / f"libs-{kafka_version()}"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None and not (tool == "mvn" and libs.exists()):
            raise BrokerError(
                f"the Kafka tests start a real broker and `{tool}` is not installed: install Java 17 and Maven, "
                "or set PENSTOCK_TEST_KAFKA to the host:port of a Kafka that may be written to"
            )
    JARS.mkdir(exist_ok=True)
    # Two test runs may start at once: one copies, the other waits; after the rename the copy is complete.
    with (JARS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not libs.exists():
            _copy_jars(libs)
    return libs


def kafka_version() -> str:
    """Version of the Kafka that the tests start."""
    pom = {"pom": "http://maven.apache.org/POM/4.0.0"}
    versions = {
        found.findtext("pom:artifactId", None, pom): found.findtext("pom:version", None, pom)
        for found in ET.parse(POM).iterfind("pom:dependencies/pom:dependency", pom)
    }
    return str(versions["kafka_2.13"])


def _copy_jars(libs: Path) -> None:
    partial = JARS / "libs.partial"
    shutil.rmtree(partial, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAVEN_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BrokerError(f"Maven did not fetch Kafka's jars within {MAVEN_TIMEOUT_S} s") from None
    if done.returncode:
        raise BrokerError(f"Maven could not fetch Kafka's jars:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    partial.rename(libs)


def _java(jars: Path, *options: str) -> list[str]:
    return [
        "java",
        *options,
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={LOGGING}",
        "-cp",
        f"{jars}/*",
    ]


LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(bootstrap: str) -> bool:
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}, logger=None)
    try:
        return bool(client.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False


def main() -> int:
    """Run a broker in the foreground until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka_broker")
    parser.add_argument("verb", choices=["start"])
    parser.add_argument("--port", type=int, default=0, help="port to listen on; a free one when left out")
    parser.add_argument("--data", type=Path, help="directory for its data; temporary when left out")
    arguments = parser.parse_args()
    broker = Broker(port=arguments.port, data=arguments.data and arguments.data.resolve())
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        broker.start()
        print(broker.bootstrap, flush=True)
        return broker.wait()
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        broker.close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
