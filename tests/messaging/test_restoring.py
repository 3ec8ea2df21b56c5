"""A stream whose store was replaced: by a backup of it, by a new one, by that of another app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from eskit.domain.events import RecordedEvent
from eskit.errors import MessagingError
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.relay import RelayReport
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import KeyValueSubscriptions, nats_bus
from eskit.nats.connection import Connection, connected
from eskit.nats.jetstream import message_from
from eskit.nats.server import EmbeddedNats
from eskit.operations.files import back_up
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.store.reports import no_progress
from tests.messaging.conftest import append, until
from tests.messaging.test_relay import log_of, positions, published, purge, relay_once
from tests.support.coded import coded


@pytest.fixture
def restored(file_store: EventStore, tmp_path: Path) -> Iterator[EventStore]:
    """A backup taken after 4 events; its original has 9."""
    append(file_store, 4)
    back_up(file_store, tmp_path / "backup.db", progress=no_progress)
    append(file_store, 5)
    with open_store(f"sqlite:///{tmp_path}/backup.db") as store:
        yield store


async def republish(store: EventStore, url: str, *, app: str = "bank") -> RelayReport:
    async with connected(url) as connection:
        return await nats_relay(store, connection, app_name=app).republish()


async def handle_some(connection: Connection, count: int) -> list[int]:
    """The positions of the next events that the subscription `mailer` handles."""
    handled: list[int] = []

    async def handle(event: RecordedEvent) -> None:
        handled.append(event.global_position)

    subscriber = await nats_bus(connection).subscribe(Subscription(name="mailer"), handle)
    await until(lambda: len(handled) >= count)
    await subscriber.stop()
    return sorted(handled)


@pytest.mark.promise("backups-are-republished")
async def test_a_restored_backup_takes_the_stream_over_when_told_to(
    file_store: EventStore, restored: EventStore, server: EmbeddedNats
) -> None:
    await relay_once(file_store, server.url)
    append(restored, 2)

    with pytest.raises(
        MessagingError, check=coded("BROKER_MISMATCH"), match="is fed by /bank/"
    ) as refused:
        await relay_once(restored, server.url)
    report = await republish(restored, server.url)
    again = await relay_once(restored, server.url)
    messages = await published(server.url)

    assert "eskit relay --republish" in refused.value.hint
    assert (report.published, report.position, again) == (6, 6, 0)
    assert report.replaced == f"/bank/{file_store.store_id}"
    assert positions(messages) == log_of(restored)
    assert {m.headers["ce-source"] for m in messages} == {f"/bank/{restored.store_id}"}


async def test_the_relay_of_the_original_notices_that_its_stream_was_taken_over(
    file_store: EventStore, restored: EventStore, server: EmbeddedNats
) -> None:
    await relay_once(file_store, server.url)
    await republish(restored, server.url)

    with pytest.raises(
        MessagingError, check=coded("BROKER_MISMATCH"), match=f"is fed by /bank/{restored.store_id}"
    ):
        await relay_once(file_store, server.url)

    assert positions(await published(server.url)) == log_of(restored)


@pytest.mark.promise("backups-are-republished")
async def test_a_subscription_goes_on_behind_the_last_event_that_both_logs_have(
    file_store: EventStore, restored: EventStore, server: EmbeddedNats
) -> None:
    await relay_once(file_store, server.url)
    async with connected(server.url) as connection:
        before = await handle_some(connection, 9)
        append(restored, 3)
        await republish(restored, server.url)

        after = await handle_some(connection, 3)

    assert before == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert after == [5, 6, 7]


async def test_a_subscription_at_work_goes_on_in_the_new_log(
    file_store: EventStore, restored: EventStore, server: EmbeddedNats
) -> None:
    await relay_once(file_store, server.url)
    handled: list[RecordedEvent] = []
    async with connected(server.url) as connection:
        subscriber = await nats_bus(connection).subscribe(
            Subscription(name="mailer"), handled.append
        )
        await until(lambda: len(handled) == 9)
        kept = KeyValueSubscriptions(connection, scope="ESKIT_EVENTS")
        while (await kept.load("mailer"))[0].position != 9:  # noqa: ASYNC110 - it saves by itself
            await asyncio.sleep(0.05)
        append(restored, 3)
        await republish(restored, server.url)

        mine = {event.event_id for event in restored.read_all(after=4)}
        await until(lambda: {event.event_id for event in handled} >= mine)
        await subscriber.check_health()
        await subscriber.stop()

    behind = [event.global_position for event in handled if event.event_id in mine]
    assert sorted(set(behind)) == [5, 6, 7]


async def test_a_subscription_handles_all_of_a_store_that_was_made_anew(
    file_store: EventStore, store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 9)
    append(store, 2)
    await relay_once(file_store, server.url)
    async with connected(server.url) as connection:
        await handle_some(connection, 9)
        await republish(store, server.url)

        after = await handle_some(connection, 2)

    assert after == [1, 2]


@pytest.mark.promise("backups-are-republished")
async def test_a_stream_that_has_aged_out_is_not_gone_on_with_by_a_restored_backup(
    file_store: EventStore, tmp_path: Path, server: EmbeddedNats
) -> None:
    append(file_store, 4)
    await relay_once(file_store, server.url)
    back_up(file_store, tmp_path / "backup.db", progress=no_progress)
    append(file_store, 5)
    await relay_once(file_store, server.url)
    async with connected(server.url) as connection:
        await handle_some(connection, 9)
        await purge(server.url)
        with open_store(f"sqlite:///{tmp_path}/backup.db") as restored:
            append(restored, 2)

            with pytest.raises(
                MessagingError, check=coded("BROKER_MISMATCH"), match="empty but was used before"
            ):
                await relay_once(restored, server.url)
            report = await republish(restored, server.url)
            after = await handle_some(connection, 2)

    assert report.published == 6
    assert after == [5, 6]


@pytest.mark.promise("backups-are-republished")
async def test_the_stream_of_another_app_is_not_taken_over(
    file_store: EventStore, store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 3)
    append(store, 2)
    await relay_once(file_store, server.url)

    with pytest.raises(
        MessagingError, check=coded("BROKER_MISMATCH"), match="is fed by /bank/"
    ) as refused:
        await republish(store, server.url, app="shop")

    assert "nats_stream, nats_prefix" in refused.value.hint
    assert "--republish" not in refused.value.hint
    assert positions(await published(server.url)) == log_of(file_store)


async def test_republishing_a_log_leaves_its_subscriptions_where_they_are(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 3)
    await relay_once(file_store, server.url)
    async with connected(server.url) as connection:
        await handle_some(connection, 3)
        await republish(file_store, server.url)
        append(file_store, 1)
        await relay_once(file_store, server.url)

        after = await handle_some(connection, 1)
        first = await message_from(connection, "ESKIT_EVENTS", 1)

    assert after == [4]
    assert first is not None


async def test_a_second_stream_of_the_same_subjects_is_told_to_take_another_prefix(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 1)
    await relay_once(file_store, server.url)

    async with connected(server.url) as connection:
        settings = StreamSettings(name="EVENTS2")
        relay = nats_relay(file_store, connection, app_name="bank", settings=settings)
        with pytest.raises(
            MessagingError, check=coded("BROKER_MISMATCH"), match="EVENTS2 cannot be created"
        ) as refused:
            await relay.run_once()

    assert "choose another nats_prefix" in refused.value.hint
