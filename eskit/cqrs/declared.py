"""What generated code declares of handlers that a service's own code narrows."""

from __future__ import annotations

from typing import Any, TypeAlias

from eskit.cqrs import contexts

QueryContext: TypeAlias = contexts.QueryContext[Any]
"""The context of a query, whatever the handler's read models give as `db`."""
