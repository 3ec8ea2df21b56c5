"""The nearest known name for one that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ON_ONE_LINE = 60


def find_nearest(text: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """The name that `text` was probably meant to be; empty if none is as alike as that, up to 1."""
    from difflib import get_close_matches  # only a mistake needs it

    return next(iter(get_close_matches(text, list(known), n=1, cutoff=alike)), "")


def suggestion(text: str, known: Sequence[str], plural: str) -> str:
    """A hint: the names that end in ``/text`` or like it, or the nearest, else all of them."""
    endings = {name.rpartition("/")[2]: name for name in known}
    ending = [name for name in known if name.endswith(f"/{text}")]
    nearest = (
        " or ".join(ending)
        or find_nearest(text, known, alike=0.4)
        or endings.get(find_nearest(text, endings), "")
    )
    if nearest:
        return f"Did you mean {nearest}?"
    listed = ", ".join(sorted(known)) or "none"
    if len(listed) > _ON_ONE_LINE:
        listed = "".join(f"\n  {name}" for name in sorted(known))
        return f"{plural} here:{listed}"
    return f"{plural} here: {listed}."
