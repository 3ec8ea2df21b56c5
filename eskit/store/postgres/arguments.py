"""A group of appends as the arguments of the function `append`: see functions.sql."""

from __future__ import annotations

from collections.abc import Sequence

from eskit.domain.streams import ANY, NO_STREAM, STREAM_EXISTS
from eskit.postgres.arrays import BigIntegers, Blobs, Integers, Packed, Texts, Uuids, sized
from eskit.store.appending import Append, claims_to_json
from eskit.store.postgres.checksums import command_content, event_content, kind_of

_EXPECTED = {ANY: -1, STREAM_EXISTS: -2, NO_STREAM: 0}
_NEITHER = sized(b"") + sized(None)
"""Empty metadata, and no claims: as most events have them."""


def pack(appends: Sequence[Append], *, look_up: bool) -> tuple[Packed, ...]:
    """All arguments that are arrays; `look_up` says to look for every event id."""
    return (
        *_pack_appends(appends, look_up=look_up),
        *_pack_events(appends),
        _pack_claims(appends),
        *_pack_schemas(appends),
    )


def _pack_appends(appends: Sequence[Append], *, look_up: bool) -> tuple[Packed, ...]:
    texts: list[bytes | None] = []
    numbers: list[int] = []
    responses: list[bytes | None] = []
    checksums: list[bytes | None] = []
    for stream, category, tenant, expected, command, events, claims, given, schemas in appends:
        texts += (stream.encode(), tenant.encode(), category.encode())
        if command is None:
            texts += (None, None)
            responses.append(None)
            checksums.append(None)
        else:
            name, fingerprint, response = command.id, command.fingerprint, command.response
            texts += (name.encode(), fingerprint.encode())
            responses.append(response)
            checksums.append(command_content(tenant, name, fingerprint, stream, response))
        numbers += (
            _EXPECTED.get(expected, expected),  # type: ignore[arg-type]
            given or look_up,
            len(events),
            sum([len(event.claims) for event in events]) if claims else 0,
            len(schemas),
        )
    return (
        Texts.of(texts),
        Integers.of_ints(numbers),
        Blobs.of(responses),
        BigIntegers.of(checksums),
    )


def _pack_events(appends: Sequence[Append]) -> tuple[Packed, ...]:
    kinds: dict[tuple[str, str], int] = {}
    numbers: list[int] = []
    ids: list[bytes] = []
    texts: list[bytes] = []
    payloads: list[bytes] = []
    checksums: list[bytes] = []
    for append in appends:
        stream, tenant, category = append.stream, append.tenant, append.category
        last_type, number, kind = "", 0, b""
        for event in append.events:
            event_id, data, metadata, claims = event.id_bytes, event.data, b"", b""
            if event.event_type != last_type:  # most events of an append are of one type
                last_type = event.event_type
                number = kinds.setdefault((category, last_type), len(kinds) + 1)
                kind = kind_of(tenant, stream, last_type)
            if event.metadata_json or event.claims:
                metadata = event.metadata_json.encode()
                claims = (claims_to_json(event.claims) or "").encode()
                texts.append(sized(metadata) + sized(claims or None))
            else:
                texts.append(_NEITHER)
            numbers.append(number)
            ids.append(event_id)
            payloads.append(data)
            checksums.append(event_content(kind, event_id, metadata, claims, data))
    return (
        Texts.of([text.encode() for names in kinds for text in names]),
        Integers.of_ints(numbers),
        Uuids.of(ids),
        Texts.joined(2 * len(ids), texts),
        Blobs.of(payloads),
        BigIntegers.of(checksums),
    )


def _pack_claims(appends: Sequence[Append]) -> Packed:
    return Texts.of(
        [
            text.encode()
            for append in appends
            if append.claims
            for event in append.events
            for claim in event.claims
            for text in (claim.operation, claim.index, claim.value)
        ]
    )


def _pack_schemas(appends: Sequence[Append]) -> tuple[Packed, ...]:
    schemas = [schema for append in appends for schema in append.schemas]
    return (
        Texts.of([text.encode() for each in schemas for text in (each.event_type, each.schema_id)]),
        Blobs.of([schema.files for schema in schemas]),
        Integers.of_ints([schema.first_position for schema in schemas]),
    )
