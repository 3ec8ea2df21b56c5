"""``eskit claim``: the unique values that streams hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.options import Limit
from eskit.cli.session import session_of
from eskit.cli.terminal.errors import FOUND
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line
from eskit.reports.envelope import limited
from eskit.reports.streams import claim_object, comparison_object
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.operations.claims import ClaimsReport
    from eskit.store.records import ClaimRow

app = make_app("List and rebuild claims of unique values.")


@app.command(
    "list",
    **examples("eskit claim list", "eskit claim list --index account_id --json"),
)
def list_claims(
    context: typer.Context,
    index: Annotated[str, typer.Option(metavar="NAME", help="Only of this index.")] = "",
    stream: Annotated[str, typer.Option(metavar="STREAM", help="Only held by this one.")] = "",
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this tenant.")] = None,
    limit: Limit = 100,
) -> None:
    """List the values that are held, by tenant, index and value."""
    from eskit.store.records import ClaimRow

    session = session_of(context)
    with session.open_store() as store, store.view() as view:
        matching = (
            held
            for held in view.rows(ClaimRow)
            if index in {"", held.index_name}
            and stream in {"", held.stream}
            and tenant in {None, held.tenant}
        )
        shown, more = limited(matching, limit, narrower="give an --index")
    session.output.result(
        [claim_object(held) for held in shown], format_claims(shown), diagnostics=more, cut=True
    )


@app.command(
    "rebuild",
    **examples("eskit claim rebuild --check", "eskit claim rebuild"),
)
def rebuild(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare; exit 3 when they differ.")
    ] = False,
) -> None:
    """Rebuild the claims from the events of the log, and show the differences.

    eskit reads most of the log before writers must wait.
    """
    from eskit.operations.claims import check_claims, rebuild_claims

    session = session_of(context)
    work = check_claims if check else rebuild_claims
    with session.open_store() as store, session.output.progress() as report:
        found = work(store, progress=lambda step: report(step.name, step.done, step.total))
    differs = check and found.count > 0
    session.output.result(
        comparison_object(found, check=check), format_report(found, check=check), found=differs
    )
    if differs:
        raise typer.Exit(FOUND)


def format_claims(claims: Sequence[ClaimRow]) -> Iterator[Line]:
    """A claim a line: index, value, holder."""
    if not claims:
        yield "No claims"
        return
    with_tenant = any(held.tenant for held in claims)
    yield from columns(
        [
            (
                (held.index_name, "key"),
                (held.value, "name"),
                held.stream,
                *((held.tenant,) if with_tenant else ()),
            )
            for held in claims
        ],
        cut=1,
    )


def format_report(report: ClaimsReport, *, check: bool) -> Iterator[Line]:
    """The answer first, then each difference."""
    held = count(report.claims, "claim")
    if not report.count:
        yield f"{held}, as the log says"
        return
    different = count(report.count, "difference")
    yield f"{held} by the log, {different}" + ("" if check else ", repaired")
    for difference in report.differences:
        text = difference.text if check else difference.text_when_put_right
        yield f"  {text}" + (f" ({difference.tenant})" if difference.tenant else "")
    if report.count > len(report.differences):
        yield f"  and {report.count - len(report.differences):,} more"
    if check and report.loss:
        yield f"The log lacks events, restore the store from a backup: {report.loss}"
    elif check:
        yield ["Repair them: ", ("eskit claim rebuild", "command")]
