"""``eskit call``: send a command or a query."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.text import Line
from eskit.cli.values import descriptor_of, leaves

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from eskit.app import App
    from eskit.cqrs.options import CallOptions, Reply
    from eskit.domain.services import Method

app = make_app()


class Via(StrEnum):
    """Which way a request goes."""

    PROCESS = "process"
    NATS = "nats"


@app.command(
    **examples(
        "eskit call account.v1.AccountQueryService/GetAccount \\",
        """    --data '{"account_id":"acc-001"}'""",
        "eskit call account.v1.AccountCommandService/Deposit --via nats \\",
        """    --data '{"account_id":"acc-001","amount":"25.00"}' --command-id 7f3a""",
        "eskit call --list",
    )
)
def call(
    context: typer.Context,
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="package.Service/Method", show_default=False)
    ] = "",
    data: Annotated[
        str, typer.Option(metavar="JSON", help="The request; - reads it from stdin.")
    ] = "{}",
    via: Annotated[Via, typer.Option(help="In this process, or over NATS.")] = Via.PROCESS,
    command_id: Annotated[
        str, typer.Option("--command-id", metavar="ID", help="Repeat it to resend safely.")
    ] = "",
    expected_version: Annotated[
        int | None, typer.Option("--expected-version", metavar="N", min=0, help="Of the stream.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="Wait so long for an answer.")
    ] = 30.0,
    principal: Annotated[str, typer.Option(metavar="ID", help="On whose behalf.")] = "",
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Of this tenant.")] = "",
    list_methods: Annotated[bool, typer.Option("--list", help="List the methods.")] = False,
) -> None:
    """Send a command or a query to a service of the app, and show its response."""
    from eskit.cqrs.options import CallOptions
    from eskit.schema.jsonmap import parse, to_dict

    session = session_of(context)
    loaded = session.load_app()
    if list_methods:
        session.output.result(*_methods(loaded))
        return
    if not method:
        raise typer.BadParameter("Which METHOD? See: eskit call --list", param_hint="METHOD")
    found = loaded.find_method(method)
    request = parse(found.request, sys.stdin.read() if data == "-" else data)
    options = CallOptions(
        command_id=command_id,
        expected_version=expected_version,
        timeout=timeout,
        principal_id=principal,
        tenant=tenant,
    )
    send = _send_over_nats if via is Via.NATS else _run_here
    reply = send(session, found, request, options)
    answer = to_dict(reply.message)
    session.output.result(answer, format_response(reply, answer))


def _run_here(session: Session, method: Method, request: Message, options: CallOptions) -> Reply:
    with session.open_app() as running:
        return running.handle(method, request, options)


def _send_over_nats(
    session: Session, method: Method, request: Message, options: CallOptions
) -> Reply:
    import asyncio

    from eskit.cqrs.nats import NatsTransport

    async def send() -> Reply:
        async with session.connect_nats("eskit call") as connection:
            return await NatsTransport(connection).request(method, request, options)

    return asyncio.run(send())


def format_response(reply: Reply, answer: dict[str, object]) -> Iterator[Line]:
    """The response's fields, one a line."""
    fields = list(leaves(answer, descriptor_of(type(reply.message)), unset=True))
    longest = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield [(name.ljust(longest), "key"), "  ", value]
    if not fields:
        yield "Nothing in the response"
    if reply.already_processed:
        yield [("This command was carried out before; this is its first response.", "dim")]


def _methods(loaded: App) -> tuple[list[dict[str, str]], list[Line]]:
    methods = list(loaded.methods.values())
    data = [{"method": method.path, "kind": method.kind} for method in methods]
    return data, [[(f"{method.kind:7}  ", "dim"), method.path] for method in methods]
