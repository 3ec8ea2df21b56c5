"""What a client logs in to NATS with. Secrets are never in `repr`, `str` or an error."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from eskit.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Token:
    """A shared secret."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user and a password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NKey:
    """An Ed25519 key pair by its seed (``SU…``): the server knows only the public half."""

    seed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Jwt:
    """A user JWT with its seed: the text of a ``.creds`` file."""

    creds: str = field(repr=False)

    def __post_init__(self) -> None:
        for part in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"):
            if part not in self.creds:
                raise InvalidArgument(
                    f"NATS credentials have no section {part!r}",
                    hint="A .creds file is written by: nsc generate creds",
                )


Login: TypeAlias = Token | UserPassword | NKey | Jwt


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to trust the server, and who to be: certificate and key for mutual TLS.

    Without `ca` the system's authorities are trusted.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """The settings as Python's ssl module wants them. Raises InvalidArgument."""
        if (self.cert is None) != (self.key is None):
            raise InvalidArgument("A client certificate and its key belong together")
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(str(path) for path in (self.ca, self.cert) if path is not None)
            raise InvalidArgument(
                f"TLS files cannot be used ({names}): {error.strerror or 'not PEM, or no match'}",
                hint="Give PEM files: the authority, and a certificate with its own key.",
            ) from None
        return context
