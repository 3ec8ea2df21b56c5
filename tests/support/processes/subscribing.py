"""A program that subscribes to a stream in NATS: ``python subscribing.py URL NAME FOLDER``.

It writes the position of each event that it has handled into ``handled`` of the folder. It handles
an event as long as there is a file ``slow``, and raises while there is one named ``failing``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from eskit.domain.events import RecordedEvent
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import nats_bus
from eskit.nats.connection import open_nats


async def main(url: str, name: str, folder: Path) -> None:
    async def handle(event: RecordedEvent) -> None:
        while (folder / "slow").exists():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
        if (folder / "failing").exists():
            raise RuntimeError("no mail")
        with (folder / "handled").open("a") as file:
            file.write(f"{event.global_position}\n")

    bus = nats_bus(await open_nats(url), stream="BANK_EVENTS", prefix="bank.events")
    subscription = Subscription(name=name, max_deliveries=1)
    subscriber = await bus.subscribe(subscription, handle)
    await subscriber.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
