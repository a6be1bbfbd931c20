"""A subscription that lives for years: charges each period, answers for its account, and keeps its history short.

penstock dev examples/subscription.py

and in another shell, in the same folder:

penstock start subscription --id sub-7 --input '{"terms":{"customer":"ann","price":9.5,"period":"10s"}}'
penstock query sub-7 statement
penstock update sub-7 change_price --input '12.5'
penstock signal sub-7 end
penstock result sub-7
"""

from __future__ import annotations

from pydantic import BaseModel

from penstock import activity, activity_info, continue_as_new, wait_condition, workflow

PERIODS_OF_A_RUN = 12


class Terms(BaseModel):
    """What was agreed. `price` in euros for each `period` (a duration)."""

    customer: str
    price: float
    period: str = "30d"


class Account(BaseModel):
    """What was charged so far, in euros."""

    periods: int = 0
    paid: float = 0.0
    last_receipt: str = ""


@activity(retries=10, backoff=2.0)
async def charge_period(customer: str, amount: float) -> str:
    """Charge the customer's card, and return a receipt. The key makes a repeated call harmless."""
    return f"{customer}-{amount:.2f}-{activity_info().idempotency_key[-8:]}"


@workflow(name="subscription")
class Subscription:
    """One customer's subscription."""

    def __init__(self, terms: Terms, account: Account | None = None) -> None:
        self.terms, self.account = terms, account or Account()
        self.ended = False

    @workflow.run
    async def run(self) -> Account:
        """Charge at the beginning of each period until the subscription ends; twelve periods are one run."""
        for _ in range(PERIODS_OF_A_RUN):
            await self._charge()
            try:
                await wait_condition(lambda: self.ended, timeout=self.terms.period)
            except TimeoutError:
                continue
            return self.account
        continue_as_new(Subscription(self.terms, self.account))

    async def _charge(self) -> None:
        price = self.terms.price
        receipt = await charge_period(self.terms.customer, price)
        self.account = Account(periods=self.account.periods + 1, paid=self.account.paid + price, last_receipt=receipt)

    @workflow.query
    def statement(self) -> Account:
        """What was charged so far."""
        return self.account

    @workflow.update
    def change_price(self, price: float) -> Terms:
        """Change the price from the next period on."""
        self.terms = self.terms.model_copy(update={"price": price})
        return self.terms

    @change_price.validator
    def _is_price(self, price: float) -> None:
        if price <= 0:
            raise ValueError("a price is above 0")

    @workflow.signal
    def end(self) -> None:
        """End the subscription now; what was charged stays charged."""
        self.ended = True
