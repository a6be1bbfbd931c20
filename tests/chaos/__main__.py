"""Faults that one run brings upon its neighbours, on a real broker, with what the neighbours notice.

    python -m tests.chaos [--seconds N]

Two supervised processor processes and two workers, the neighbour at 50 starts a second; each fault is watched for some
seconds. Printed: the longest time without a completion, and p99 of the latency outside of such gaps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.faults import FAULTS, Chaos
from tests.kafka_broker import Broker


def main() -> int:
    """Run all faults; returns 1 if a bound was exceeded or something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults beside a neighbour workload.")
    parser.add_argument("--seconds", type=float, default=20.0, help="time that each fault is watched (default: 20)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="penstock-chaos-") as folder:
        broker = Broker()
        broker.start()
        try:
            with Chaos(broker, Path(folder)) as chaos:
                problems = [problem for fault in FAULTS for problem in chaos.run(fault, seconds)]
                problems += chaos.finish()
        finally:
            broker.close()
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
