"""What an app's JetStream stream and subjects were called before they had the app's name."""

from __future__ import annotations

from collections.abc import Callable

from eskit.domain.subjects import StreamNames
from eskit.errors import InvalidArgument
from eskit.nats.connection import Connection
from eskit.nats.headers import app_of, stream_subjects
from eskit.nats.jetstream import JetStreamError, StreamState, api, find_stream, message_from

FORMER_STREAM = "EVENTS"
FORMER_PREFIX = "events"
_LOOK_BACK = 20


async def settle_names(
    connection: Connection,
    wanted: StreamNames,
    *,
    chosen_stream: bool,
    chosen_prefix: bool,
    is_own: Callable[[str], bool],
    known: str = "",
) -> StreamNames:
    """The names that hold for an app here: those it had before as long as its stream has them.

    What is `chosen` by a setting holds in any case. `is_own` tells of the part of a ``ce-source``
    that is the app's. `known` is when the stream was created to which the app's relay has last
    published, if that is known: an empty stream cannot say whose it is.
    """
    if chosen_stream and chosen_prefix:
        return wanted
    streams = [wanted.stream, *([] if chosen_stream else [FORMER_STREAM])]
    prefixes = [wanted.prefix, *([] if chosen_prefix else [FORMER_PREFIX])]
    for name in streams:
        state = await find_stream(connection, name)
        if state is None:
            continue
        heard = set(state.config.get("subjects") or ())
        for prefix in prefixes:
            names = StreamNames(name, prefix)
            if heard >= set(stream_subjects(prefix)) and (
                names == wanted or await _is_own(connection, state, is_own, known)
            ):
                return names
    return wanted


async def find_only_names(connection: Connection) -> StreamNames | None:
    """The names of the only stream on a server that a relay may have made; None without one.

    For whoever knows no app. Raises InvalidArgument when there are several.
    """
    found: list[StreamNames] = []
    for name in (await api(connection, "STREAM.NAMES"))["streams"] or ():
        state = await find_stream(connection, name)
        subjects = set(state.config.get("subjects") or ()) if state is not None else set()
        found += [
            StreamNames(name, prefix)
            for prefix in sorted(subject.removesuffix(".>") for subject in subjects)
            if subjects >= set(stream_subjects(prefix))
        ]
    if len(found) > 1:
        raise InvalidArgument(
            f"Several apps publish there: {', '.join(names.stream for names in found)}",
            hint="Choose one in the folder of a project: -C DIR",
        )
    return found[0] if found else None


async def _is_own(
    connection: Connection, state: StreamState, is_own: Callable[[str], bool], known: str
) -> bool:
    """Whether a relay of the app has published to a stream; the last messages tell."""
    if state.created == known:
        return True
    sequence = state.last_sequence
    for _ in range(_LOOK_BACK):
        if sequence < max(state.first_sequence, 1):
            return False
        try:
            message = await message_from(connection, state.name, sequence)
        except JetStreamError:
            return False
        source = message.headers.get("ce-source", "") if message is not None else ""
        if source:
            return is_own(app_of(source))
        sequence -= 1
    return False
