"""The app of the simulation: accounts, three projections of them, and a reaction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from eskit import Projection, Reaction, ReactionContext, upcast
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.services import Method
from eskit.domain.upcasting import Upcasters
from eskit.errors import CommandRejected
from eskit.projections.policy import FailurePolicy
from eskit.projections.projection import EventContext
from tests.simulation.rows import rows_of

HERE = Path(__file__).parent
PACKAGE = "tests.simulation.v1"
PROJECTIONS = ("every", "apart", "held")
_MIGRATIONS = {name: HERE / "migrations" / name for name in PROJECTIONS}
_MODULUS = 1_000_003


def _define() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/simulation/v1/bank.proto", package=PACKAGE, syntax="proto3"
    )
    for name, number in (
        ("Account", "balance"),
        ("DepositCommand", "amount"),
        ("WithdrawCommand", "amount"),
        ("RewardCommand", "amount"),
        ("Balance", "balance"),
        ("DepositedEvent", "amount"),
        ("WithdrawnEvent", "amount"),
        ("RewardedEvent", "amount"),
        ("PaidInEvent", "coins"),
    ):
        message = file.message_type.add(name=name)
        message.field.add(name="account_id", number=1, type=9, label=1)
        message.field.add(name=number, number=2, type=3, label=1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    classes = message_factory.GetMessageClassesForFiles([file.name], descriptor_pool.Default())
    return {name.rpartition(".")[2]: found for name, found in classes.items()}


_messages = _define()
State: Any = _messages["Account"]
Deposit: Any = _messages["DepositCommand"]
Withdraw: Any = _messages["WithdrawCommand"]
Reward: Any = _messages["RewardCommand"]
Balance: Any = _messages["Balance"]
Deposited: Any = _messages["DepositedEvent"]
Withdrawn: Any = _messages["WithdrawnEvent"]
Rewarded: Any = _messages["RewardedEvent"]
PaidIn: Any = _messages["PaidInEvent"]
"""What deposits were called once, and what they counted."""
_COIN = 5
_WORTH = {
    f"{PACKAGE}.DepositedEvent": ("amount", 1),
    f"{PACKAGE}.WithdrawnEvent": ("amount", -1),
    f"{PACKAGE}.RewardedEvent": ("amount", 1),
    f"{PACKAGE}.PaidInEvent": ("coins", 5),
}
COMMANDS = {"deposit": Deposit, "withdraw": Withdraw, "reward": Reward}
WANTED = {
    "every": (Deposited, Withdrawn, Rewarded),
    "apart": (Deposited, Withdrawn),
    "held": (Deposited, Rewarded),
}
"""What each projection handles: they skip different events, and meet at different places."""
_TOLD_OF = 2
answering: list[Callable[[str, int], None]] = []
"""Who is told of the effects of "held"."""


def worth(event_type: str, message: Any) -> int:
    """What a stored event does to the balance."""
    field, sign = _WORTH[event_type]
    return sign * int(getattr(message, field))


@upcast(PaidIn, to=Deposited)
def paid_in(old: Any) -> Any:
    """A coin was worth five."""
    return Deposited(account_id=old.account_id, amount=_COIN * old.coins)


UPCASTERS = [paid_in]
STORED = {
    name: frozenset(
        stored
        for event in events
        for stored in Upcasters(UPCASTERS).stored_types(event.DESCRIPTOR.full_name)
    )
    for name, events in WANTED.items()
}


def tell(name: str, position: int) -> None:
    """The effect of one event in a projection."""
    for answer in answering:
        answer(name, position)


def is_told_of(name: str, position: int) -> bool:
    """Whether handling an event is to have an effect."""
    return name == "held" and position % _TOLD_OF == 0


def _method(name: str, command: type[Message]) -> Method:
    return Method(
        service=f"{PACKAGE}.AccountCommandService",
        name=name.title(),
        python_name=name,
        kind="command",
        request=command,
        response=Balance,
    )


class Account(Aggregate[Any, Any]):
    """Money goes in and out; there is never less than nothing."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Account",
        state=State,
        id_field="account_id",
        commands=tuple(_method(name, command) for name, command in COMMANDS.items()),
        events=(
            EventMethod(event=Deposited, python_name="on_deposited"),
            EventMethod(event=Withdrawn, python_name="on_withdrawn"),
            EventMethod(event=Rewarded, python_name="on_rewarded"),
            EventMethod(event=PaidIn, python_name="on_paid_in", deprecated=True),
        ),
    )

    def deposit(self, command: Any) -> Any:
        """Put money in."""
        self.emit(Deposited(account_id=self.id, amount=command.amount))
        return Balance(account_id=self.id, balance=self.state.balance)

    def withdraw(self, command: Any) -> Any:
        """Take money out, if there is enough."""
        if command.amount > self.state.balance:
            raise CommandRejected("NOT_ENOUGH", f"There are {self.state.balance}")
        self.emit(Withdrawn(account_id=self.id, amount=command.amount))
        return Balance(account_id=self.id, balance=self.state.balance)

    def reward(self, command: Any) -> Any:
        """Put something on top."""
        self.emit(Rewarded(account_id=self.id, amount=command.amount))
        return Balance(account_id=self.id, balance=self.state.balance)

    def on_deposited(self, event: Any) -> None:
        """More."""
        self.state.balance += event.amount

    def on_withdrawn(self, event: Any) -> None:
        """Less."""
        self.state.balance -= event.amount

    def on_rewarded(self, event: Any) -> None:
        """More."""
        self.state.balance += event.amount


def reward(around: Callable[[ReactionContext, Callable[[], None]], None]) -> Reaction:
    """One that gives something on top of what is deposited; `around` has the deed to do."""
    made = Reaction("reward", start="first", max_deliveries=3, backoff=(0.1, 1.0))

    @made.on(Deposited)
    def deposited(event: Any, context: ReactionContext) -> None:
        around(context, lambda: context.execute(Reward(account_id=event.account_id, amount=1)))

    return made


Around = Callable[[str, EventContext, Callable[[], None]], None]
"""Called for each event a projection handles, with what writes its rows."""


def projection(name: str, policy: FailurePolicy, around: Around) -> Projection:
    """One that keeps each event it handled, in the order in which it did, and totals of them."""
    made = Projection(name, migrations=_MIGRATIONS[name], on_failure=policy)

    @made.on(*WANTED[name])
    def handle(event: Any, context: EventContext) -> None:
        around(name, context, lambda: _write(name, event, context))

    return made


def _write(name: str, event: Any, context: EventContext) -> None:
    assert event.DESCRIPTOR.full_name != PaidIn.DESCRIPTOR.full_name, "as it is read now"
    stream = f"Account-{event.account_id}"
    if context.position % 3 == 0:  # a look at the whole event now and then
        assert (context.event.global_position, context.event.stream) == (context.position, stream)
    amount = worth(event.DESCRIPTOR.full_name, event)
    rows = rows_of(context.db)
    events, total, digest = rows.find_total(name, stream) or (0, 0, 0)
    rows.add(name, context.position, stream)
    if answering and is_told_of(name, context.position):
        context.once("told", partial(tell, name, context.position))
    now = events + 1, total + amount, next_digest(digest, context.position, amount)
    rows.put_total(name, stream, now)


def next_digest(digest: int, position: int, amount: int) -> int:
    """Tells one order of events from another."""
    return (digest * 31 + position * 7 + amount) % _MODULUS
