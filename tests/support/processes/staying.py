"""Runs the projection "mails" until it is ended: `staying.py STORE READ_MODELS`."""

from __future__ import annotations

import sys

from eskit import Projection, open_store
from eskit.projections.engine import ProjectionEngine
from tests.support.account_events import Counted

mails = Projection("mails")


@mails.on(Counted)
def counted(_event, _context) -> None:
    """Do nothing."""


if __name__ == "__main__":
    with open_store(sys.argv[1]) as store:
        ProjectionEngine(store, [mails], sys.argv[2]).run_each(once=False, stay=True)
