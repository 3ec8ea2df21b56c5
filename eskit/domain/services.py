"""Services as the proto declares them: data that generated code hands to eskit.

What generated modules import is made of named tuples: a dataclass takes eight times as long to
define, and the module that defines it as long to import as all of these.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from google.protobuf.message import Message


class Method(NamedTuple):
    """One rpc: its full names, its message classes, and whether it changes anything."""

    service: str
    name: str
    python_name: str
    kind: Literal["command", "query"]
    request: type[Message]
    response: type[Message]

    @property
    def full_name(self) -> str:
        """``account.v1.AccountCommandService.OpenAccount``; also its NATS subject."""
        return f"{self.service}.{self.name}"

    @property
    def path(self) -> str:
        """``account.v1.AccountCommandService/OpenAccount``, as gRPC writes it."""
        return f"{self.service}/{self.name}"


class ServiceType(NamedTuple):
    """One proto service: its full name and its methods in proto order."""

    name: str
    methods: tuple[Method, ...]
