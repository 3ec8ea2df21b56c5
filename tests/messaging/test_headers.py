"""Events as NATS messages: what goes out comes back the same."""

from __future__ import annotations

from typing import Any

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eskit.domain.events import EventRow, Metadata, RecordedEvent
from eskit.nats.connection import connected
from eskit.nats.headers import (
    NotAnEvent,
    decode_event,
    encode_headers,
    filter_subjects,
    header_lines,
    plain_headers,
    source_of,
    subject_of,
)
from eskit.nats.server import EmbeddedNats

TEXT = st.text(max_size=30)


def recorded(stream: str = "Account-a", tenant: str = "", metadata: str = "") -> RecordedEvent:
    place = 7, stream, 3, b"7" * 16
    time = 1_700_000_000_123_456
    return RecordedEvent(EventRow(*place, "bank.v1.Opened", time, tenant, metadata, b"\x00\xff"))


@given(
    stream_id=st.text(min_size=1, max_size=40).filter(str.isprintable),
    metadata=st.builds(
        Metadata,
        correlation_id=TEXT,
        causation_id=TEXT,
        command_id=TEXT,
        principal_id=TEXT,
        custom=st.dictionaries(TEXT, TEXT, max_size=3),
    ),
    tenant=st.sampled_from(["", "acme", "a.b-c_d"]),
)
def test_an_event_survives_the_way_through_headers(
    stream_id: str, metadata: Metadata, tenant: str
) -> None:
    event = recorded(f"Account-{stream_id}", tenant, metadata.to_json())

    headers = encode_headers(event, source_of("bank", "store-1"))
    decoded = decode_event(headers, event.data)

    assert decoded == event
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_headers_are_those_of_the_cloudevents_binding() -> None:
    metadata = Metadata(correlation_id="corr 1", principal_id="alice", custom={"k": "v"})

    headers = encode_headers(recorded("Account-ü 1", "acme", metadata.to_json()), "/bank/s1")

    assert headers == {
        "Nats-Msg-Id": "37373737-3737-3737-3737-373737373737",
        "ce-specversion": "1.0",
        "ce-id": "37373737-3737-3737-3737-373737373737",
        "ce-source": "/bank/s1",
        "ce-type": "bank.v1.Opened",
        "ce-subject": "Account-%C3%BC%201",
        "ce-time": "2023-11-14T22:13:20.123456Z",
        "ce-datacontenttype": "application/protobuf",
        "ce-streamversion": "3",
        "ce-globalposition": "7",
        "ce-correlationid": "corr%201",
        "ce-tenant": "acme",
        "ce-metadata": "{%22principal_id%22:%22alice%22,%22custom%22:{%22k%22:%22v%22}}",
    }


def test_subjects_name_aggregate_type_and_event_type_and_tenant() -> None:
    assert subject_of(recorded(), "events") == "events.Account.bank.v1.Opened"
    assert subject_of(recorded(tenant="a.b"), "es") == "tenants.a%2Eb.es.Account.bank.v1.Opened"


@pytest.mark.parametrize(
    "headers", [None, {}, {"ce-id": "x"}, {"ce-globalposition": "seven", "ce-subject": "A-1"}]
)
def test_a_message_from_elsewhere_is_not_an_event(headers: dict[str, str] | None) -> None:
    with pytest.raises(NotAnEvent, match="without the headers of an event"):
        decode_event(headers, b"")


def test_filters_become_subjects_that_do_not_overlap() -> None:
    assert filter_subjects("events") == []
    assert filter_subjects("events", aggregates=["A", "B"], tenants=["", "t"]) == [
        "events.A.>",
        "events.B.>",
        "tenants.t.events.A.>",
        "tenants.t.events.B.>",
    ]
    assert filter_subjects("events", event_types=["b.v1.X"], tenants=[""]) == ["events.*.b.v1.X"]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"a: b\r\nCe-Time: 2026-11-30T01:02:03Z\r\n\r\n", 2),
        (b"a: \r\n\r\n", 1),
        (b"a: b c\r\n\r\n", None),
        (b"a: b\tc\r\n\r\n", None),
        (b"a b: c\r\n\r\n", None),
        (b"a\tb: c\r\n\r\n", None),
        (b"a:b\r\n\r\n", None),
        (b"a:  b\r\n\r\n", None),
        (b"a: b \r\n\r\n", None),
        (b"a: b\nc: d\r\n\r\n", None),
        (b"a: \xc3\xbc\r\n\r\n", None),
        (b"\xc3\xbc: a\r\n\r\n", None),
        (b"nothing\r\n\r\n", None),
        (b": a\r\n\r\n", None),
        (b"a: b", None),
    ],
)
def test_only_plain_headers_are_read_quickly(raw: bytes, found: int | None) -> None:
    headers = plain_headers(raw)

    assert (headers and len(headers)) == found
    assert headers is None or headers == dict(header_lines(f"NATS/1.0\r\n{raw.decode()}"))


async def test_headers_are_read_as_nats_py_reads_them(server: EmbeddedNats) -> None:
    every = {"A": "b", "Empty": "", "Spaces": " a  b ", "Other": "ü \t%20", "Colon": "a: b:c"}
    wanted = [{}, every, *({name: value, "Z": "z"} for name, value in every.items())]
    read: dict[str, list[Any]] = {"ours": [], "theirs": []}
    theirs = await nats.connect(server.url)

    async with connected(server.url) as ours:
        for name, client in (("ours", ours), ("theirs", theirs)):
            subscription = await client.subscribe("headers")
            await client.flush()
            for headers in wanted:
                await theirs.publish("headers", headers=headers)
            for _ in wanted:
                read[name].append((await subscription.next_msg()).headers)
            await subscription.unsubscribe()
    await theirs.close()

    assert read["ours"] == read["theirs"]
    assert read["ours"][-1] == {"Colon": "a: b:c", "Z": "z"}
