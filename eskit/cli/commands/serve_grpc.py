"""The options of ``eskit serve`` for gRPC, and what they may not open to everybody."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.service_runner import check_address, parse_address
from eskit.errors import InvalidArgument

if TYPE_CHECKING:
    from eskit.app import App
    from eskit.runtime.assembly import GrpcPlace

Grpc = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        callback=check_address,
        help="Answer gRPC there as well; port 0: a free one. HOST is by default 127.0.0.1.",
    ),
]
_PEM = {"exists": True, "dir_okay": False, "readable": True, "metavar": "FILE"}
TlsCertificate = Annotated[
    Path | None,
    typer.Option(help="The certificate chain for gRPC, PEM.", **_PEM),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(help="Its key, PEM.", **_PEM),
]
TlsClients = Annotated[
    Path | None,
    typer.Option(
        help="Let in only clients with a certificate signed by one of these, PEM.",
        **_PEM,
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Let everybody who reaches HOST call over gRPC.")
]


def grpc_place(
    address: str | None, certificate: Path | None, key: Path | None, clients: Path | None
) -> GrpcPlace | None:
    """Where to answer gRPC; None for nowhere."""
    if (certificate is None) != (key is None) or (clients is not None and key is None):
        raise typer.BadParameter("Pass --tls-certificate and --tls-key together")
    if address is None:
        if key is not None:
            raise typer.BadParameter("--tls-certificate and --tls-key are for --grpc")
        return None
    from eskit.runtime.assembly import GrpcPlace

    host, port = parse_address(address)
    return GrpcPlace(host=host, port=port, certificate=certificate, key=key, clients=clients)


def check_exposure(place: GrpcPlace | None, app: App, *, insecure: bool) -> None:
    """Raise InvalidArgument for a place beyond this machine that lets everybody in."""
    from eskit.cqrs.authorisation import nobody

    if place is None or insecure or _is_loopback(place.host):
        return
    missing = []
    if place.key is None:
        missing.append("TLS")
    if place.clients is None and app.authenticate is nobody:
        missing.append("an authenticator")
    if missing:
        raise InvalidArgument(
            f"gRPC on {place.host} would let everybody call who reaches it: it has not "
            f"{' and '.join(missing)}",
            hint="Pass --tls-certificate and --tls-key and give the app authenticate=…, "
            "listen on 127.0.0.1, or pass --insecure.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
