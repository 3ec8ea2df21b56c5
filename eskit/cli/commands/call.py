"""``eskit call``: send a command or a query."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.stream import load_open_types
from eskit.cli.completion import complete_methods
from eskit.cli.groups import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.text import Line
from eskit.errors import VersionConflict
from eskit.reports.envelope import seen_from_here

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from eskit.cli.commands.methods import Methods
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
        "eskit call --list --descriptors bank.binpb",
    )
)
def call(
    context: typer.Context,
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="package.Service/Method",
            show_default=False,
            autocompletion=complete_methods,
        ),
    ] = "",
    data: Annotated[
        str, typer.Option(metavar="JSON", help="The request; - reads it from stdin.")
    ] = "{}",
    via: Annotated[
        Via | None,
        typer.Option(
            help="In this process, or over NATS. Without it in this process, if there is an app."
        ),
    ] = None,
    command_id: Annotated[
        str, typer.Option("--command-id", metavar="ID", help="Repeat it to resend safely.")
    ] = "",
    expected_version: Annotated[
        int | None, typer.Option("--expected-version", metavar="N", min=0, help="Of the stream.")
    ] = None,
    at_least: Annotated[
        int | None,
        typer.Option(
            "--at-least",
            metavar="POSITION",
            min=0,
            help="Wait until read models reach this position (0: do not wait). Default: all.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="Reply timeout.")
    ] = 30.0,
    principal: Annotated[str, typer.Option(metavar="ID", help="Principal to act as.")] = "",
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Of this tenant.")] = "",
    list_methods: Annotated[
        bool, typer.Option("--list", help="List the methods, or describe METHOD.")
    ] = False,
    descriptors: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read the methods from a descriptor set of protoc."),
    ] = None,
) -> None:
    """Send a command or a query to a service, and show its response.

    eskit knows methods and fields from the app, else from the project's protos, else from the
    schemas in the store. Without an app it sends the request over NATS.
    """
    from eskit.cli.commands.methods import (
        format_method,
        format_methods,
        format_response,
        proto_comments,
    )
    from eskit.cqrs.options import CallOptions
    from eskit.reports.schema import method_object
    from eskit.schema.jsonmap import parse, to_dict

    session = session_of(context)
    methods = _find_methods(session, via, descriptors)
    if list_methods and method:
        found, comments = methods.resolve(method), proto_comments(session)
        session.output.result([method_object(found, comments)], format_method(found, comments))
        return
    if list_methods:
        listed = list(methods.by_name.values())
        lines = format_methods(listed) if listed else _format_none(session, methods)
        session.output.result(list(map(method_object, listed)), lines)
        return
    if not method:
        raise typer.BadParameter("Name a method that eskit call --list shows", param_hint="METHOD")
    found = methods.resolve(method)
    if methods.of_app:
        load_open_types(session, found.request, found.response)
    request = parse(found.request, sys.stdin.read() if data == "-" else data)
    options = CallOptions(
        command_id=command_id,
        expected_version=expected_version,
        at_least=at_least,
        timeout=timeout,
        principal_id=principal,
        tenant=tenant,
    )
    here = methods.of_app and via is not Via.NATS
    if session.debug:
        session.output.note(f"sent  {'in this process' if here else 'over NATS'}")
    try:
        reply = (_run_here if here else _send_over_nats)(session, found, request, options)
    except VersionConflict as conflict:
        conflict.hint = (
            f"See what is there: eskit stream read {shlex.quote(conflict.stream)}; then send it "
            f"again with --expected-version {conflict.actual}, or without."
        )
        raise
    answer = to_dict(reply.message)
    session.output.result(answer, format_response(reply, answer))


def _format_none(session: Session, methods: Methods) -> Iterator[Line]:
    """That there is nothing to call, and for an app where its services are added."""
    yield f"No methods in {methods.origin}"
    if methods.of_app:
        module = session.project.app.partition(":")[0]
        file = seen_from_here(sys.modules[module].__file__ or module)
        yield f"Add aggregates=[…] or queries=[…] to App(…) in {file}"


def _find_methods(session: Session, via: Via | None, descriptors: Path | None) -> Methods:
    """From what was asked for, or from the best there is."""
    from eskit.cli.commands.methods import (
        methods_at_hand,
        methods_of_app,
        methods_of_file,
        methods_of_schemas,
    )

    if descriptors is not None:
        if via is Via.PROCESS:
            raise typer.BadParameter("It goes with --via nats", param_hint="--descriptors")
        found = methods_of_file(session.path(descriptors))
    elif via is Via.NATS:
        found = methods_at_hand(session)
    elif via is None and not session.names_app():
        found = methods_of_schemas(session)
    else:
        found = methods_of_app(session)
    if session.debug:
        session.output.note(f"methods  from {found.origin}")
    return found


def _run_here(session: Session, method: Method, request: Message, options: CallOptions) -> Reply:
    """Answer the request in a thread, which is left when it takes too long."""
    from dataclasses import replace

    from eskit.cqrs.deadline import unanswered, with_time_to_answer
    from eskit.leavable import LeavableThreads

    in_time = replace(options, timeout=with_time_to_answer(options.timeout))
    with session.open_app() as running:
        answering = LeavableThreads(1).submit(running.handle, method, request, in_time)
        try:
            return answering.result(min(options.timeout, threading.TIMEOUT_MAX))
        except TimeoutError:
            if answering.done():  # it is what the handler raised
                raise
            raise unanswered(method, options.timeout) from None


def _send_over_nats(
    session: Session, method: Method, request: Message, options: CallOptions
) -> Reply:
    import asyncio

    from eskit.cqrs.nats import NatsTransport

    async def send() -> Reply:
        async with session.connect_nats("eskit call") as connection:
            return await NatsTransport(connection).request(method, request, options)

    return asyncio.run(send())
