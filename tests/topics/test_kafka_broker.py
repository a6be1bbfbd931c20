"""Tests of the broker that the tests start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract.log_tools import WAIT_S, wait_for
from tests.kafka_broker import Broker, BrokerError, fetch_jars


def test_without_java_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what is missing and both remedies."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BrokerError, match="`java` is not installed: install Java 17 and Maven, or set PENSTOCK_TEST"):
        fetch_jars()


def test_a_broker_that_cannot_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Kafka ends by itself, the error contains its output."""
    monkeypatch.setitem(Broker.FIXED_SETTINGS, "num.io.threads", "none")
    with pytest.raises(BrokerError, match=r"num\.io\.threads"):
        Broker(data=tmp_path).start()


def test_a_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """SIGKILL to the parent leaves no Java process behind."""
    script = "import sys, time; from pathlib import Path; from tests.kafka_broker import Broker; "
    script += "print(Broker(data=Path(sys.argv[1])).start().pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # An orphan that ended but was not yet collected still has its number.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"

    wait_for(f"the broker to end with its parent (at most {WAIT_S:g} s)", gone, lambda: time.sleep(0.05))
