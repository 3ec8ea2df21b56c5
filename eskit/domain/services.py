"""Services as the proto declares them: data that generated code hands to eskit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceType:
    """One proto service: its full name and its methods in proto order."""

    name: str
    methods: tuple[Method, ...]
