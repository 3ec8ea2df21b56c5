"""What somebody may have meant by a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def suggestion(text: str, known: Sequence[str], plural: str) -> str:
    """A hint: the name that ends in ``/text`` or is nearest to it, else all of them."""
    ending = [name for name in known if name.endswith(f"/{text}")]
    nearest = ending or difflib.get_close_matches(text, known, n=1, cutoff=0.4)
    if nearest:
        return f"Did you mean {' or '.join(nearest)}?"
    return f"{plural} here: {', '.join(sorted(known)) or 'none'}."
