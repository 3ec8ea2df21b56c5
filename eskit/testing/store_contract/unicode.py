"""Text that no store can keep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eskit.domain.claims import claim
from eskit.domain.events import Metadata
from eskit.domain.streams import ANY
from eskit.errors import InvalidArgument
from eskit.operations.erasing import erase
from eskit.store.eventstore import EventStore
from eskit.testing.store_contract.samples import command, text

_HALF = "\ud800"
"""Half of a surrogate pair: what Python makes of a byte that is not UTF-8."""

_USES: dict[str, Callable[[EventStore], object]] = {
    "a stream to append to": lambda store: store.append(
        f"Account-{_HALF}", [text("a")], expected_version=ANY
    ),
    "a claim to take": lambda store: store.append(
        "Account-1", [text("a", claim("email", _HALF))], expected_version=ANY
    ),
    "metadata": lambda store: store.append(
        "Account-1", [text("a", metadata=Metadata(principal_id=_HALF))], expected_version=ANY
    ),
    "a command id": lambda store: store.append(
        "Account-1", [text("a")], expected_version=ANY, command=command(_HALF)
    ),
    "a fingerprint": lambda store: store.append(
        "Account-1", [text("a")], expected_version=ANY, command=command("c", fingerprint=_HALF)
    ),
    "a stream to read": lambda store: store.read_stream(f"Account-{_HALF}"),
    "a stream to fold": lambda store: store.read_rows(f"Account-{_HALF}"),
    "a stream to ask for": lambda store: store.stream_version(f"Account-{_HALF}"),
    "a claim to ask for": lambda store: store.find_claim("email", _HALF),
    "a tenant of a claim": lambda store: store.for_tenant(_HALF).find_claim("email", "a@b"),
    "a command to ask for": lambda store: store.find_command(_HALF),
    "a tenant of a command": lambda store: store.for_tenant(_HALF).find_command("c"),
    "streams to list": lambda store: store.list_streams(prefix=_HALF),
    "a tenant to list": lambda store: store.for_tenant(_HALF).list_streams(),
    "a checkpoint to save": lambda store: store.save_checkpoint(_HALF, position=1, event_id=""),
    "a checkpoint to load": lambda store: store.find_checkpoint(_HALF),
    "a snapshot to find": lambda store: store.snapshots.find(_HALF, schema="", fold_version=1),
    "snapshots to list": lambda store: store.snapshots.read(prefix=_HALF),
    "snapshots to prune": lambda store: store.snapshots.prune(keep=0, prefix=_HALF),
    "a stream to erase": lambda store: erase(
        store, [f"Account-{_HALF}"], reason="asked", erased_by="ann"
    ),
    "a reason to erase": lambda store: erase(store, ["Account-0"], reason=_HALF, erased_by="ann"),
}


class UnicodeContract:
    """Text that is not Unicode is refused by name, not by an error from below."""

    @pytest.mark.parametrize("use", _USES.values(), ids=_USES.keys())
    def test_text_that_is_not_unicode_is_refused(
        self, store: EventStore, use: Callable[[EventStore], object]
    ) -> None:
        store.append("Account-0", [text("a")], expected_version=ANY)

        with pytest.raises(InvalidArgument):
            use(store)

        assert [event.erased for event in store.read_all()] == [False]
