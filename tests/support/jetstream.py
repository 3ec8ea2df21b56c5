"""What tests of projections do with a stream: fill it as a relay does."""

from __future__ import annotations

import asyncio

from eskit import EventStore
from eskit.messaging.publisher_nats import nats_relay
from eskit.nats.connection import connected


def publish_all(url: str, store: EventStore) -> None:
    """Publish what is new in a store."""

    async def run() -> None:
        async with connected(url) as connection:
            await nats_relay(store, connection, app_name="bank").run_once()

    asyncio.run(run())
