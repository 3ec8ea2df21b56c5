"""What somebody may have meant by a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

_ON_ONE_LINE = 60


def suggestion(text: str, known: Sequence[str], plural: str) -> str:
    """A hint: the names that end in ``/text`` or like it, or the nearest, else all of them."""
    endings = {name.rpartition("/")[2]: name for name in known}
    ending = [name for name in known if name.endswith(f"/{text}")]
    nearest = (
        ending
        or difflib.get_close_matches(text, known, n=1, cutoff=0.4)
        or [endings[name] for name in difflib.get_close_matches(text, endings, n=1)]
    )
    if nearest:
        return f"Did you mean {' or '.join(nearest)}?"
    listed = ", ".join(sorted(known)) or "none"
    if len(listed) > _ON_ONE_LINE:
        listed = "".join(f"\n  {name}" for name in sorted(known))
        return f"{plural} here:{listed}"
    return f"{plural} here: {listed}."
