"""Tests of signals that overtake their starts, which a producer with another partitioner wrote to a wrong shard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from pathlib import Path

from penstock import Engine, NotAnswered, Signal, workflow
from penstock.config import Settings
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import Log, Record
from penstock.topics.partitioner import partition_of

RUNS, SHARDS, WAIT_S = 200, 4, 60

word = Signal("overtaking-word", str)


@workflow
async def overtaken(number: int) -> str:
    return f"{number}: {await word.wait(timeout='1h')}"


def records(topics: Topics, number: int) -> list[Record]:
    """A start on a wrong partition, and a signal on the right one."""
    id = f"overtaken-{number}"
    own, key = partition_of(id, SHARDS), id.encode()
    start = {"type": "overtaken", "id": id, "input": number}
    signal = {"command": "SignalWorkflow", "id": id, "signal": word.name, "input": f"word {number}"}
    wrong = (own + 1 + number % (SHARDS - 1)) % SHARDS
    return [
        Record(topics.commands, wrong, key, json.dumps(start).encode()),
        Record(topics.commands, own, key, json.dumps(signal).encode()),
    ]


async def all_arrive(settings: Settings) -> None:
    """Write 200 starts to wrong partitions, each with a signal to the right one at once, and await the results."""
    topics = Topics(settings.namespace, settings.prefix)
    async with Engine([overtaken], settings=settings) as engine:
        log = connect(settings.log)
        publisher = log.publisher()
        for number in range(RUNS):
            for record in records(topics, number):
                publisher.send(record)
        await asyncio.to_thread(publisher.flush, WAIT_S)
        publisher.close()
        async with asyncio.timeout(WAIT_S):
            await until_started(engine, RUNS)
            results = await asyncio.gather(
                *(engine.client.result(f"overtaken-{number}", timeout=WAIT_S) for number in range(RUNS))
            )
        assert results == [f"{number}: word {number}" for number in range(RUNS)]
        assert written(log, topics.dead_letters) == 0
        log.close()


def written(log: Log, topic: str) -> int:
    """Number of records that a topic received."""
    places = [(topic, number) for number in range(log.describe([topic])[topic].partitions)]
    return sum(end for _, end in log.ends(places).values())


async def until_started(engine: Engine, count: int) -> None:
    """Wait until every shard has an owner that serves reads, and so many runs have been started."""
    found = 0
    while found < count:
        await asyncio.sleep(0.1)
        with contextlib.suppress(NotAnswered):
            found = len(await engine.client.list(limit=2 * count))


def test_signals_overtake_their_starts_on_the_embedded_log(tmp_path: Path) -> None:
    """Each of 200 signals reaches its run on the embedded log with four shards; none is a dead letter."""
    asyncio.run(all_arrive(Settings(log=f"embedded:{tmp_path}/log", shards=SHARDS, data=str(tmp_path / "data"))))


def test_signals_overtake_their_starts_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Each of 200 signals reaches its run on Kafka with four shards; none is a dead letter."""
    namespace = f"overtaken-{uuid.uuid4().hex[:8]}"
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}", namespace=namespace, shards=SHARDS, data=str(tmp_path / "data")
    )
    asyncio.run(all_arrive(settings))
