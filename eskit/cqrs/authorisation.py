"""Who sent a request, and whether they may: authenticators, roles and tenants.

A principal is never taken from what a caller claims. Over NATS it comes from the app's
authenticator, ``App(authenticate=…)``; without one every caller is nobody. In process it is what
the calling code says in CallOptions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from eskit.cqrs.middleware import Call, Middleware, Passage
from eskit.domain.services import Method
from eskit.errors import CommandRejected, InvalidArgument

UNAUTHENTICATED = "UNAUTHENTICATED"
PERMISSION_DENIED = "PERMISSION_DENIED"
TENANT_REQUIRED = "TENANT_REQUIRED"

ANYBODY = "*"
"""A role that everybody has, also who is not authenticated."""

Authenticator: TypeAlias = Callable[[Method, Mapping[str, str]], str]
"""Who sent a request with these headers: a principal id, or "" for nobody.

Raises CommandRejected to refuse the request. Called on the event loop: it must not block.
"""


def nobody(_method: Method, _headers: Mapping[str, str]) -> str:
    """The default authenticator: a principal that the caller merely claims is not believed."""
    return ""


def claimed_principal(_method: Method, headers: Mapping[str, str]) -> str:
    """Trust the ``Principal-Id`` header: for a broker that only trusted services can reach."""
    return unquote(headers.get("Principal-Id", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """A middleware that denies every call that is not allowed.

    `allow` names, for a method (``package.Service/Method``) or a whole service
    (``package.Service``), the roles that may call it; ANYBODY among them opens it to all. A method
    that is not named is denied. `of` gives the roles of a principal.
    """

    allow: Mapping[str, Collection[str]]
    of: Callable[[str], Collection[str]]

    def __post_init__(self) -> None:
        for name, roles in self.allow.items():
            if isinstance(roles, str):
                raise InvalidArgument(
                    f"The roles of {name} are a text, not a list", hint=f'Write ["{roles}"].'
                )

    def __call__(self, call: Call) -> Passage:
        """Refuse with UNAUTHENTICATED or PERMISSION_DENIED, or pass."""
        method, principal = call.method, call.options.principal_id
        allowed = self.allow.get(method.path, self.allow.get(method.service, ()))
        if ANYBODY in allowed:
            yield call
            return
        if not principal:
            raise CommandRejected(
                UNAUTHENTICATED,
                f"{method.path} requires authentication",
                solution="Send the credentials that the service's authenticator checks.",
            )
        if not set(allowed) & set(self.of(principal)):
            raise CommandRejected(
                PERMISSION_DENIED,
                f"{principal} may not call {method.path}",
                solution="Ask for a role that may.",
            )
        yield call


def require_tenant(of: Callable[[str], Collection[str]] | None = None) -> Middleware:
    """Refuse a call without a tenant, or with one that is not among those `of` its principal."""

    def check(call: Call) -> Passage:
        tenant, principal = call.options.tenant, call.options.principal_id
        if not tenant:
            raise CommandRejected(
                TENANT_REQUIRED,
                f"{call.method.path} is called for a tenant",
                solution="Name the tenant: header Tenant-Id, or --tenant.",
            )
        if of is not None and tenant not in of(principal):
            raise CommandRejected(
                PERMISSION_DENIED,
                f"{principal or 'An anonymous caller'} may not act for tenant {tenant}",
                solution="Choose one of the principal's tenants.",
            )
        yield call

    return check
