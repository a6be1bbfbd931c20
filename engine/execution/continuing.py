"""How workflow code says that it goes on in a new run."""

from __future__ import annotations

from typing import Any

from penstock.schemas.values.call import Call


class ContinueAsNew(BaseException):
    """Leaves the workflow's main function; the run goes on as this call. No Exception: clean-up code is not for it."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__(f"the run continues as {call.name}(…)")
        self.call = call
