"""Map and reduce: an activity for each of a thousand parts of a text, all at once, and one sum of what they counted.

    python examples/word_count.py [PARTS]

Each activity books its part in a folder, under its idempotency key. An attempt that is repeated, since a process died,
finds the entry of the attempt before and adds nothing; so the folder has one entry for each part, whatever happens.
Everything runs in this process, on a log in memory; `penstock processor` and `penstock worker` run the same in several.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from penstock import Engine, activity, activity_info, workflow

PARTS = 1_000
WORDS = ("ebb", "flood", "gate", "mill", "weir")


def text_of(part: int) -> str:
    """Text of a part: it would be read from a store."""
    return " ".join(WORDS[(part + place) % len(WORDS)] for place in range(part % 7 + 1))


@activity(timeout="30s", backoff=["100ms"])
def count_part(folder: str, part: int, pace_s: float) -> dict[str, int]:
    """Count the words of a part, which takes at least `pace_s`, and book it once."""
    time.sleep(pace_s)
    counted = Counter(text_of(part).split())
    entry = Path(folder, activity_info().idempotency_key.replace("/", "-"))
    entry.write_text(str(part))  # the same key: the same file, with the same content
    return dict(counted)


@workflow
async def count_words(folder: str, parts: int, pace_s: float = 0.0) -> dict[str, int]:
    """Count the words of all parts."""
    counted = await asyncio.gather(*(count_part(folder, part, pace_s) for part in range(parts)))
    total: Counter[str] = Counter()
    for part in counted:
        total.update(part)
    return dict(sorted(total.items()))


async def main(parts: int) -> None:
    """Count, and print the sums."""
    with tempfile.TemporaryDirectory() as folder:
        async with Engine([count_words, count_part], "embedded::memory:") as engine:
            total = await engine.client.execute(count_words(folder, parts), id="words")
        print(f"{len(list(Path(folder).iterdir())):,} parts:", ", ".join(f"{word} {n:,}" for word, n in total.items()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else PARTS))
