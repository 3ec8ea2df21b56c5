"""What an app's stream is called: by the app's name, or as it was called before."""

from __future__ import annotations

import pytest

from eskit.domain.subjects import StreamNames, names_of
from eskit.errors import InvalidArgument
from eskit.messaging.names import find_only_names, settle_names
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.stream_settings import StreamSettings
from eskit.nats.connection import Connection, connected
from eskit.nats.headers import stream_subjects
from eskit.nats.jetstream import api, find_stream
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import append

WANTED = names_of("bank")
FORMER = StreamNames("EVENTS", "events")


async def settle(
    connection: Connection,
    wanted: StreamNames = WANTED,
    *,
    chosen_stream: bool = False,
    chosen_prefix: bool = False,
    known: str = "",
) -> StreamNames:
    return await settle_names(
        connection,
        wanted,
        chosen_stream=chosen_stream,
        chosen_prefix=chosen_prefix,
        is_own=lambda app: app == "/bank",
        known=known,
    )


async def relay_to(
    connection: Connection, store: EventStore, names: StreamNames, app_name: str = "bank"
) -> int:
    settings = StreamSettings(name=names.stream, prefix=names.prefix)
    relay = nats_relay(store, connection, app_name=app_name, settings=settings)
    return (await relay.run_once()).published


@pytest.mark.parametrize(
    ("app", "stream", "prefix"),
    [
        ("bank", "BANK_EVENTS", "bank.events"),
        ("my-shop", "MY_SHOP_EVENTS", "my_shop.events"),
        ("Café 銀行 2", "CAF_2_EVENTS", "caf_2.events"),
        ("tenants", "TENANTS_APP_EVENTS", "tenants_app.events"),
        ("銀行", "APP_EVENTS", "app.events"),
    ],
)
def test_names_come_from_the_name_of_the_app(app: str, stream: str, prefix: str) -> None:
    assert names_of(app) == (stream, prefix)


async def test_a_new_project_takes_the_names_of_its_app(server: EmbeddedNats) -> None:
    async with connected(server.url) as connection:
        assert await settle(connection) == WANTED


async def test_an_app_keeps_the_names_of_before_while_its_events_are_there(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await relay_to(connection, store, FORMER)

        assert await settle(connection) == FORMER
        assert await settle(connection, chosen_stream=True, chosen_prefix=True) == WANTED


@pytest.mark.promise("apps-share-a-server")
async def test_the_events_of_another_app_change_nothing(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await relay_to(connection, store, FORMER, app_name="shop")

        assert await settle(connection) == WANTED
        assert await relay_to(connection, store, WANTED) == 2


@pytest.mark.promise("apps-share-a-server")
async def test_a_stream_called_events_that_is_no_relays_is_left_alone(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await connection.jetstream().add_stream(name="EVENTS", subjects=["events.>"])
        await connection.jetstream().publish("events.Account.opened", b"?")

        names = await settle(connection)
        published = await relay_to(connection, store, names)
        before = await find_stream(connection, "EVENTS")

    assert names == WANTED
    assert published == 2
    assert before is not None
    assert before.messages == 1


async def test_an_empty_stream_is_the_apps_if_its_relay_remembers_it(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await relay_to(connection, store, FORMER)
        await api(connection, "STREAM.PURGE.EVENTS")
        state = await find_stream(connection, "EVENTS")
        assert state is not None

        assert await settle(connection) == WANTED
        assert await settle(connection, known=state.created) == FORMER


async def test_a_setting_for_one_of_the_two_leaves_the_other_as_it_was(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await relay_to(connection, store, StreamNames("FACTS", "events"))

        wanted = StreamNames("FACTS", WANTED.prefix)
        names = await settle(connection, wanted, chosen_stream=True)

    assert names == ("FACTS", "events")


async def test_the_new_stream_holds_where_both_are(store: EventStore, server: EmbeddedNats) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await relay_to(connection, store, FORMER)
        await connection.jetstream().add_stream(
            name=WANTED.stream, subjects=stream_subjects(WANTED.prefix)
        )

        assert await settle(connection) == WANTED


async def test_who_knows_no_app_finds_the_only_stream_of_a_relay(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await connection.jetstream().add_stream(name="OTHERS", subjects=["others.>"])
        before = await find_only_names(connection)
        await relay_to(connection, store, WANTED)
        only = await find_only_names(connection)
        await relay_to(connection, store, FORMER)

        with pytest.raises(InvalidArgument, match="there: BANK_EVENTS, EVENTS"):
            await find_only_names(connection)

    assert before is None
    assert only == WANTED
