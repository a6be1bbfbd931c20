"""Workflows of the public rows: five activities one after the other, and a hundred at once.

Inputs and results are strings of 200 characters. Only public names are imported, so that the same file runs on every
version of Penstock.
"""

from __future__ import annotations

import asyncio

from penstock import activity, workflow

TEXT = ("All work and no play makes a dull benchmark. " * 5)[:200]
SEQUENTIAL = 5
PARALLEL = 100


@workflow
async def sequential(text: str) -> str:
    """Five activities, each on the result of the one before."""
    for _ in range(SEQUENTIAL):
        text = await rotate(text)
    return text


@workflow
async def fanout(text: str) -> str:
    """A hundred activities on the same input; the result of the last one."""
    texts = await asyncio.gather(*(rotate(text) for _ in range(PARALLEL)))
    return texts[-1]


@activity
async def rotate(text: str) -> str:
    """The text with its first character moved to the end."""
    return rotated(text, 1)


def rotated(text: str, characters: int) -> str:
    """The text with that many of its first characters moved to the end."""
    return text[characters:] + text[:characters]
