"""Onboarding: a welcome, tips a day later, a question after a week, unless the customer leaves meanwhile.

    python examples/onboarding.py

The run holds nothing but disk space while it waits. No mail leaves this program, in which a day takes half a second, on
a log in memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from penstock import Engine, Signal, activity, activity_info, details, workflow

left = Signal("left", str)


@dataclass
class Customer:
    """Whom to welcome. `day_s`: length of a day, in seconds."""

    address: str
    day_s: float = 86_400.0


@activity(timeout="30s", retries=5)
def send_mail(address: str, template: str) -> str:
    """Send a mail; a provider that knows the key ignores a repetition. Returns the key."""
    print(f"to {address}: {template}")
    return activity_info().idempotency_key


@workflow
async def onboarding(customer: Customer) -> list[str]:
    """Send one mail after the other; return those that were sent."""
    sent: list[str] = []
    for template, days in (("welcome", 1), ("tips", 7), ("question", 22)):
        await send_mail(customer.address, template)
        sent.append(template)
        details({"sent": sent})
        if await has_left(days * customer.day_s):
            await send_mail(customer.address, "goodbye")
            return [*sent, "goodbye"]
    return sent


async def has_left(seconds: float) -> bool:
    """Wait so long, or until the customer leaves."""
    try:
        await left.wait(timeout=seconds)
    except TimeoutError:
        return False
    return True


async def main() -> None:
    async with Engine([onboarding, send_mail], "embedded::memory:") as engine:
        sent = await engine.client.execute(onboarding(Customer("ann@example.org", day_s=0.5)), id="ann")
        print("sent:", ", ".join(sent))


if __name__ == "__main__":
    asyncio.run(main())
