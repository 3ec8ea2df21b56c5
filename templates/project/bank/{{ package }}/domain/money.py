"""Amounts of money as decimal strings."""

import re
from decimal import Decimal

# At most 15 digits before the point and 4 after it: sums stay far inside the 28 digits that
# Decimal keeps exactly.
_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,4})?")


def parse_amount(text: str) -> Decimal | None:
    """The amount that `text` stands for; None if it stands for none."""
    return Decimal(text) if _AMOUNT.fullmatch(text) else None
