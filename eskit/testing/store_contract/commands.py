"""Command ids, and tenants that share none."""

from __future__ import annotations

import pytest

from eskit.domain.claims import claim
from eskit.domain.commands import AppendResult
from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import CommandIdReused, InvalidArgument
from eskit.operations.pruning import prune_commands
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import (
    COMMAND_TTL,
    SettableClock,
    command,
    pass_days,
    text,
    texts,
    values,
)


class CommandContract:
    """A command is done once."""

    @promise("commands-are-done-once")
    def test_a_repeated_command_is_answered_with_its_first_result(self, store: EventStore) -> None:
        first = store.append(
            "Account-1", texts("a", "b"), expected_version=0, command=command("c1")
        )
        store.append("Account-1", texts("c"), expected_version=2)

        again = store.append(
            "Account-1",
            [text("a", claim("email", "a@b"))],
            expected_version=0,
            command=command("c1", response=b"other"),
        )

        assert again == AppendResult(
            version=2,
            global_position=first.global_position,
            already_processed=True,
            response=b"ok",
        )
        assert store.stream_version("Account-1") == 3
        assert store.find_claim("email", "a@b") is None

    def test_a_command_without_events_is_remembered(self, store: EventStore) -> None:
        store.append("Account-1", [], expected_version=ANY, command=command("c1"))

        again = store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))

        assert again.already_processed
        assert again.response == b"ok"
        assert store.stream_version("Account-1") == 0
        assert list(store.list_streams()) == []

    @pytest.mark.parametrize(
        ("stream", "fingerprint"), [("Account-2", "Open"), ("Account-1", "Close")]
    )
    def test_a_command_id_is_for_one_command(
        self, store: EventStore, stream: str, fingerprint: str
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))

        with pytest.raises(CommandIdReused) as reused:
            store.append(
                stream,
                texts("b"),
                expected_version=ANY,
                command=command("c1", fingerprint=fingerprint),
            )

        assert reused.value.command_id == "c1"
        assert reused.value.stream == "Account-1"
        assert store.count_events() == 1

    def test_a_processed_command_is_found(self, store: EventStore) -> None:
        result = store.append("Account-1", texts("a"), expected_version=0, command=command("c1"))

        record = store.find_command("c1")

        assert record is not None
        assert (record.id, record.fingerprint, record.stream) == ("c1", "Open", "Account-1")
        assert (record.version, record.global_position) == (1, result.global_position)
        assert record.response == b"ok"
        assert store.find_command("c2") is None

    def test_a_command_id_is_free_again_when_its_record_was_pruned(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))
        clock.move(days=30)
        assert store.find_command("c1") is not None
        pass_days(store, clock, COMMAND_TTL.days + 1)
        prune_commands(store)
        assert store.find_command("c1") is None

        again = store.append(
            "Account-2", texts("b"), expected_version=ANY, command=command("c1", response=b"new")
        )

        assert not again.already_processed
        record = store.find_command("c1")
        assert record is not None
        assert (record.stream, record.response) == ("Account-2", b"new")


class TenantContract:
    """Tenants are apart."""

    @promise("tenants-are-apart")
    def test_tenants_share_nothing(self, store: EventStore) -> None:
        for tenant in ("", "acme", "umbrella"):
            store.for_tenant(tenant).append(
                "Account-1",
                [text(tenant, claim("email", "a@b"))],
                expected_version=NO_STREAM,
                command=command("c1", response=tenant.encode()),
            )

        for tenant in ("", "acme", "umbrella"):
            assert values(store.for_tenant(tenant).read_stream("Account-1")) == [tenant]
            assert store.for_tenant(tenant).stream_version("Account-1") == 1
            assert store.for_tenant(tenant).find_claim("email", "a@b") == "Account-1"
            record = store.for_tenant(tenant).find_command("c1")
            assert record is not None
            assert record.response == tenant.encode()
        assert store.for_tenant("nobody").find_claim("email", "a@b") is None
        assert store.count_events() == 3

    def test_a_tenant_with_another_name_is_refused(self, store: EventStore) -> None:
        with pytest.raises(InvalidArgument):
            store.for_tenant("no spaces").append("Account-1", texts("a"), expected_version=ANY)
        with pytest.raises(InvalidArgument):
            store.for_tenant("-").read_stream("Account-1")
