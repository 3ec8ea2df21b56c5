"""Where logins come from. A provider is asked again on every reconnect, so secrets can rotate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from eskit.errors import InvalidArgument, MessagingError
from eskit.nats.login import Jwt, Login, NKey, Token, UserPassword


class Provider(Protocol):
    """Finds a login. May be asked often, and answers from whatever is true now."""

    def find(self) -> Login | None:
        """The login, or None if this provider has none. Raises CREDENTIALS_UNAVAILABLE."""
        ...


class Static:
    """The login it was given."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def find(self) -> Login | None:
        """That login."""
        return self._login

    def __repr__(self) -> str:
        return f"Static({self._login!r})"


class Environment:
    """Reads PREFIX_TOKEN, PREFIX_USER with PREFIX_PASSWORD, PREFIX_NKEY_SEED or PREFIX_CREDS.

    The last is the path of a ``.creds`` file. `variables` is usually ``os.environ``.
    """

    def __init__(self, variables: Mapping[str, str], *, prefix: str = "NATS") -> None:
        self._variables, self._prefix = variables, prefix

    def find(self) -> Login | None:
        """The first of them that is set."""
        if token := self._get("TOKEN"):
            return Token(token)
        if user := self._get("USER"):
            return UserPassword(user, self._get("PASSWORD"))
        if seed := self._get("NKEY_SEED"):
            return NKey(seed)
        if path := self._get("CREDS"):
            return File(Path(path)).find()
        return None

    def __repr__(self) -> str:
        return f"Environment({self._prefix})"

    def _get(self, name: str) -> str:
        return self._variables.get(f"{self._prefix}_{name}", "")


class File:
    """Reads a ``.creds`` file, or JSON: ``token``, ``user`` and ``password``, or ``nkey_seed``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self) -> Login | None:
        """What the file says; None if there is no such file."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise MessagingError(
                f"Cannot read credentials in {self._path}: {type(error).__name__}",
                code="CREDENTIALS_UNAVAILABLE",
                hint="The file must be readable for this user.",
            ) from None
        try:
            return Jwt(text) if text.lstrip().startswith("---") else _login_of(json.loads(text))
        except (ValueError, TypeError, KeyError):
            # Not the cause: it may quote the secret.
            raise MessagingError(
                f"{self._path} holds no NATS credentials",
                code="CREDENTIALS_UNAVAILABLE",
                hint='Write {"token": …}, {"user": …, "password": …}, {"nkey_seed": …}, '
                "or a .creds file.",
            ) from None

    def __repr__(self) -> str:
        return f"File({str(self._path)!r})"


class Chain:
    """Asks one provider after another and takes the first login there is."""

    def __init__(self, *providers: Provider) -> None:
        self._providers = providers

    def find(self) -> Login | None:
        """The first login; None if no provider has one."""
        for provider in self._providers:
            if (login := provider.find()) is not None:
                return login
        return None

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self._providers))})"


def _login_of(pairs: Mapping[str, str]) -> Login:
    match pairs:
        case {"token": str(token)}:
            return Token(token)
        case {"user": str(user), "password": str(password)}:
            return UserPassword(user, password)
        case {"nkey_seed": str(seed)}:
            return NKey(seed)
    raise InvalidArgument("No login")
