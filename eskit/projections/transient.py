"""What a runner waits for, and what stops it for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from eskit.errors import (
    BrokerUnavailable,
    EskitError,
    LogBroken,
    ReadModelUnavailable,
    RequestTimeout,
    StoreUnavailable,
)

ReportWaiting: TypeAlias = Callable[[EskitError | None], None]
"""Called once with the reason why nothing is handled, and with None when it is again."""

# A broken stream is looked at again from the checkpoints: these say what is wrong.
_TRANSIENT = (StoreUnavailable, ReadModelUnavailable, BrokerUnavailable, RequestTimeout, LogBroken)


def is_transient(error: EskitError) -> bool:
    """Whether to wait for the store, the read model or NATS to be back; not so for damage."""
    return isinstance(error, _TRANSIENT) and error.code != "READ_MODEL_DAMAGED"
