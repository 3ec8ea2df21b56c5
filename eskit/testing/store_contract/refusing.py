"""What no store takes: it could never be read again, published or named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.claims import claim
from eskit.domain.commands import Command
from eskit.domain.events import Metadata, NewEvent
from eskit.domain.messages import encode
from eskit.domain.streams import ANY
from eskit.errors import EskitError, InvalidArgument
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import text, values


def nested(depth: int) -> Value:
    """Lists in lists."""
    outermost = value = Value()
    for _ in range(depth):
        value = value.list_value.values.add()
    value.string_value = "x" * 200
    return outermost


_MESSAGE = StringValue(value="a")
_WRONG: dict[str, Callable[[], object]] = {
    "a number in custom metadata": lambda: Metadata(custom={"traceparent": _as(5)}),
    "a number as a custom key": lambda: Metadata(custom={_as(5): "x"}),
    "a number for an id": lambda: Metadata(correlation_id=_as(5)),
    "a long trace context": lambda: Metadata(custom={"traceparent": "0" * 600}),
    "custom metadata that is no mapping": lambda: Metadata(custom=_as(["a"])),
    "metadata that is none": lambda: {"principal_id": "ann"},
}


def _as(value: object) -> Any:
    """A value whose type nobody checks."""
    return value


class RefusalContract:
    """Refused where it is made, or at the latest when it is appended, with a sentence."""

    @pytest.mark.parametrize("wrong", sorted(_WRONG))
    def test_metadata_that_is_no_text_is_refused(self, store: EventStore, wrong: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            store.append(
                "Account-1",
                [NewEvent(_MESSAGE, metadata=_as(_WRONG[wrong]()))],
                expected_version=ANY,
            )

        assert refused.value.hint
        assert store.count_events() == 0

    @pytest.mark.parametrize(
        "make",
        [
            lambda: NewEvent(nested(120)),
            lambda: NewEvent(UninterpretedOption.NamePart()),
            lambda: NewEvent(_as("text")),
            lambda: NewEvent(_as(StringValue)),
            lambda: NewEvent(_MESSAGE, event_id=_as(5)),
            lambda: NewEvent(_MESSAGE, claims=_as([("email", "a@b")])),
            lambda: NewEvent(_MESSAGE, claims=_as(5)),
            lambda: claim("number", _as(5)),
            lambda: Command(id=_as(5), fingerprint="f"),
            lambda: Command(id="c", fingerprint=_as(None)),
            lambda: Command(id="c", fingerprint="f", response=_as("text")),
        ],
    )
    def test_what_cannot_be_read_again_is_not_even_made(self, make: Callable[[], object]) -> None:
        with pytest.raises(InvalidArgument) as refused:
            make()

        assert refused.value.hint

    @pytest.mark.parametrize(
        "change",
        [
            {"stream": None},
            {"stream": ["Account-1"]},
            {"stream": "A" * 256 + "-1"},
            {"stream": "bank.Account-1"},
            {"stream": "Account-"},
            {"stream": "Account-1\n"},
            {"tenant": None},
            {"tenant": "a/b"},
            {"tenant": ["a"]},
            {"events": None},
            {"events": text("a")},
            {"events": [_MESSAGE]},
            {"events": [None]},
            {"command": "c1"},
            {"expected_version": None},
            {"expected_version": "0"},
        ],
        ids=lambda change: f"{next(iter(change))}",
    )
    def test_an_argument_of_another_kind_is_named(
        self, store: EventStore, change: dict[str, object]
    ) -> None:
        call: dict[str, Any] = {
            "stream": "Account-1",
            "events": [text("a")],
            "expected_version": ANY,
            **change,
        }

        tenant = call.pop("tenant", "")

        with pytest.raises(InvalidArgument) as refused:
            store.for_tenant(tenant).append(call.pop("stream"), call.pop("events"), **call)

        assert refused.value.hint
        assert store.count_events() == 0

    @pytest.mark.parametrize("depth", [10, 40, 49, 50, 60, 98, 99, 100, 101])
    @promise("stored-events-are-usable")
    def test_what_is_appended_can_be_read(self, store: EventStore, depth: int) -> None:
        message = nested(depth)
        try:
            store.append("Account-1", [NewEvent(message)], expected_version=ANY)
        except EskitError:
            assert depth >= 40
            with pytest.raises(InvalidArgument):
                encode(message)
            return

        (event,) = store.read_all()

        assert event.message == message

    def test_names_as_long_as_may_be_are_taken(self, store: EventStore) -> None:
        stream = "A" * 255 + "-" + "é" * 255

        store.append(stream, [text("a")], expected_version=ANY)

        assert values(store.read_stream(stream)) == ["a"]
