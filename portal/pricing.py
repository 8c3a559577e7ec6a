"""What compute costs in money: list price, subsidy and own share. Pure, exact to the cent.

Derived for every ledger line from the grant's own snapshot of list price and subsidy share (accounting.md, "Units").
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.units import GPU_HOUR, SHARE_WHOLE, rounded


@dataclass(frozen=True)
class Price:
    """Three numbers in cents; list_cents = subsidy_cents + own_cents, always."""

    list_cents: int
    subsidy_cents: int

    @property
    def own_cents(self) -> int:
        return self.list_cents - self.subsidy_cents


def price(amount: int, list_price: int, share: int) -> Price:
    """Price of `amount` milli-GPU-seconds.

    list_price: cents for a GPU-hour. share: subsidised part in basis points, 0 to 10,000.
    """
    total = rounded(amount * list_price, GPU_HOUR)
    return Price(total, rounded(total * share, SHARE_WHOLE))
