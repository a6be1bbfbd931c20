"""Comparison of the partitioner with Kafka's Java client.

Results of Kafka's own client are in tests/golden/murmur2.json. Where Java is installed they are computed again;
`python -m tests.topics.test_partitioner_java` rewrites the file.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from pathlib import Path

from penstock.topics.partitioner import murmur2, partition_of
from tests.kafka_broker import fetch_jars

GOLDEN = Path(__file__).parent.parent / "golden" / "murmur2.json"
SOURCE = Path(__file__).parent / "Murmur2Vectors.java"
PARTITIONS = 12
SEED = 20_260_101
JAVA_TIMEOUT_S = 60.0


def _keys() -> list[bytes]:
    """About 200 keys: every length to 40 in random bytes, ids as people write them, and many scripts."""
    chance = random.Random(SEED)
    keys = [chance.randbytes(length) for length in range(41) for _ in range(2)]
    keys += [f"order-{number}".encode() for number in range(40)]
    words = ["заказ", "注文", "طلب", "παραγγελία", "commande-é", "🛒", "𝔬𝔯𝔡𝔢𝔯", "cafe\u0301", "ÿ", " ", "\t"]
    keys += [f"{word}-{chance.randrange(10**6)}".encode() for word in words for _ in range(6)]
    keys += [bytes([value]) * 3 for value in (0x00, 0x7F, 0x80, 0xFF)] + [b"x" * 255, b"x" * 1_024]
    return keys


def _ask_java(keys: list[bytes]) -> list[dict[str, str | int]]:
    jars = fetch_jars()
    lines = "".join(base64.b64encode(key).decode() + "\n" for key in keys)
    done = subprocess.run(
        ["java", "-cp", f"{jars}/*", str(SOURCE), str(PARTITIONS)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=JAVA_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"Java could not hash the keys:\n{done.stderr}"
    answers = [line.split() for line in done.stdout.splitlines()]
    return [
        {"key": key.hex(), "murmur2": int(value), "partition": int(partition)}
        for key, (value, partition) in zip(keys, answers, strict=True)
    ]


def test_partitioner_agrees_with_javas_answers() -> None:
    """For each key the hash and the partition are those that Kafka's Java client computed."""
    golden = json.loads(GOLDEN.read_text())
    assert len(golden) > 190
    for entry in golden:
        key = bytes.fromhex(entry["key"])
        assert murmur2(key) == entry["murmur2"], entry["key"]
        assert partition_of(key, PARTITIONS) == entry["partition"], entry["key"]


def test_the_golden_answers_are_javas() -> None:
    """The file contains the keys of this test and, where Java is installed, exactly Java's current results."""
    keys = _keys()
    golden = json.loads(GOLDEN.read_text())
    assert [entry["key"] for entry in golden] == [key.hex() for key in keys]
    if shutil.which("java") is not None:
        assert golden == _ask_java(keys)


if __name__ == "__main__":
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in _ask_java(_keys())) + "\n]\n")
