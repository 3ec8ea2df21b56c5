"""Compare claims with the log, and rebuild them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from eskit.errors import InvalidArgument, StoreDamaged, StoreUnavailable
from eskit.operations.claim_ledger import ClaimLedger
from eskit.store.corruption import find_loss
from eskit.store.eventstore import EventStore
from eskit.store.port import View
from eskit.store.records import ClaimRow, Erasure
from eskit.store.reports import Progress, ReportProgress, no_progress

_REPORT_EVERY = 1000
_MOST_LISTED = 1000
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDifference:
    """A value that is held otherwise than the log says; an empty stream stands for none."""

    kind: Literal["missing", "extra", "owner"]
    tenant: str
    index: str
    value: str
    expected: str
    found: str

    @property
    def text(self) -> str:
        """The difference as a sentence."""
        found, expected = _holder(self.found), _holder(self.expected)
        return f"{self.index} {self.value!r} is {found}; by the log it is {expected}"

    @property
    def text_when_put_right(self) -> str:
        """The same when it is none any more."""
        found, expected = _holder(self.found), _holder(self.expected)
        return f"{self.index} {self.value!r} was {found}; now it is {expected}"


def _holder(stream: str) -> str:
    return f"held by {stream}" if stream else "free"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsReport:
    """Claims against the log: how many the log gives, and the first of the differences.

    `loss` names an event that the log lacks, if it does: then it cannot tell what claims should be.
    """

    claims: int
    count: int
    differences: tuple[ClaimDifference, ...]
    loss: str = ""


def check_claims(store: EventStore, *, progress: ReportProgress = no_progress) -> ClaimsReport:
    """Compare the claims of a store with those that its log gives; nothing is changed."""
    with store.view() as view, closing(ClaimLedger()) as ledger:
        _follow(ledger, view, progress)
        return replace(_compare(ledger, view), loss=find_loss(view))


def rebuild_claims(store: EventStore, *, progress: ReportProgress = no_progress) -> ClaimsReport:
    """Make the claims of a store what its log gives; the report says what was changed.

    Most of the log is read before writers have to wait. Raises StoreDamaged for a log that lacks
    events, of which the claims are not known, and ClaimTaken when the log itself gives one value
    to two streams.
    """
    for _ in range(_ATTEMPTS):
        with closing(ClaimLedger()) as ledger:
            with store.view() as view:
                _refuse_losses(view)
                head = _follow(ledger, view, progress)
                erasures = list(view.rows(Erasure))
            with store.view(exclusive=True) as locked:
                if list(locked.rows(Erasure)) != erasures:
                    continue  # what was read of the erased stream no longer counts
                _follow(ledger, locked, progress, after=head)
                report = _compare(ledger, locked)
                for claim, taken in ledger.corrections():
                    if taken:
                        locked.put([claim])
                    else:
                        locked.drop([claim])
                return report
    raise StoreUnavailable(
        "Streams were erased again and again while claims were rebuilt",
        hint="Try again when that has ended.",
    )


def find_differences(
    expected: Iterator[ClaimRow], found: Iterator[ClaimRow]
) -> Iterator[ClaimDifference]:
    """Merge two sorted sequences of claims and give what differs."""
    want, have = next(expected, None), next(found, None)
    while want is not None or have is not None:
        if want is not None and (have is None or want[:3] < have[:3]):
            yield _difference("missing", want, expected=want.stream)
            want = next(expected, None)
        elif have is not None and (want is None or have[:3] < want[:3]):
            yield _difference("extra", have, found=have.stream)
            have = next(found, None)
        elif want is not None and have is not None:
            if want.stream != have.stream:
                yield _difference("owner", want, expected=want.stream, found=have.stream)
            want, have = next(expected, None), next(found, None)


def _difference(
    kind: Literal["missing", "extra", "owner"],
    claim: ClaimRow,
    *,
    expected: str = "",
    found: str = "",
) -> ClaimDifference:
    return ClaimDifference(
        kind=kind,
        tenant=claim.tenant,
        index=claim.index_name,
        value=claim.value,
        expected=expected,
        found=found,
    )


def _refuse_losses(view: View) -> None:
    if loss := find_loss(view):
        raise StoreDamaged(
            f"Claims cannot be rebuilt from a log that lacks events: {loss}",
            hint="Restore the store from a backup.",
        )


def _follow(ledger: ClaimLedger, view: View, progress: ReportProgress, *, after: int = 0) -> int:
    head = view.head()
    for number, record in enumerate(view.events(after=after)):
        try:
            ledger.add(record)
        except InvalidArgument as error:
            raise StoreDamaged(error.message) from error
        if number % _REPORT_EVERY == 0:
            progress(Progress(name="claims", done=record.global_position, total=head))
    progress(Progress(name="claims", done=head, total=head))
    return head


def _texts(held: Iterator[ClaimRow]) -> Iterator[ClaimRow]:
    for claim in held:
        if not all(isinstance(part, str) for part in claim):
            raise StoreDamaged(f"A held claim is not text: {claim[1:3]}")
        yield claim


def _compare(ledger: ClaimLedger, view: View) -> ClaimsReport:
    claims = count = 0
    listed: list[ClaimDifference] = []

    def counted(held: Iterator[ClaimRow]) -> Iterator[ClaimRow]:
        nonlocal claims
        for claim in held:
            claims += 1
            yield claim

    found = _texts(view.rows(ClaimRow))
    for difference in find_differences(counted(ledger.read_claims()), found):
        count += 1
        key = difference.tenant, difference.index, difference.value
        stream = difference.expected or difference.found
        ledger.note(ClaimRow(*key, stream), taken=bool(difference.expected))
        if len(listed) < _MOST_LISTED:
            listed.append(difference)
    return ClaimsReport(claims=claims, count=count, differences=tuple(listed))
