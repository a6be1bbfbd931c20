"""Counter of the requests that a broker of the benchmark has handled, by API, read over JMX.

A Java program (BrokerRequests.java, run from its source) attaches to the broker's JVM and reads the metric
`kafka.network:type=RequestMetrics,name=RequestsPerSec`. Needs a JDK; a JRE has neither a compiler nor the attach API.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

PROGRAM = Path(__file__).with_name("BrokerRequests.java")
END_S = 20.0
# Counted under Fetch already: the same requests once more, by who sent them.
COUNTED_TWICE = {"FetchConsumer", "FetchFollower"}

Counts = dict[str, int]


class BrokerRequests:
    """Connection to one broker's JVM. `read` returns None for good when it cannot be read; a warning says why."""

    def __init__(self, pid: int) -> None:
        self._java = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", str(PROGRAM), str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._broken = False

    def read(self) -> Counts | None:
        """Requests since the broker started."""
        assert self._java.stdin is not None
        assert self._java.stdout is not None
        answer = ""
        if not self._broken:
            try:
                self._java.stdin.write("\n")
                self._java.stdin.flush()
                answer = self._java.stdout.readline()
            except BrokenPipeError:
                pass
        if not answer and not self._broken:
            self._broken = True
            print("the broker's requests cannot be read over JMX: install a JDK 17 or later", file=sys.stderr)
        return parse(answer) if answer else None

    def close(self) -> None:
        """End the Java program."""
        try:
            self._java.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._java.kill()
            self._java.wait(END_S)


def parse(answer: str) -> Counts:
    """Counts by API from a line of the Java program, without the names that repeat others."""
    counts = msgspec.json.decode(answer, type=Counts)
    return {api: count for api, count in counts.items() if api not in COUNTED_TWICE}


def between(before: Counts | None, after: Counts | None) -> Counts | None:
    """Requests from one reading to a later one, for each API that had any; None if a reading is missing."""
    if before is None or after is None:
        return None
    differences = {api: count - before.get(api, 0) for api, count in after.items()}
    return {api: count for api, count in differences.items() if count}
