"""Commands that run until they are stopped: services under the runner, and health for probes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.terminal.printing import end_line_of_ctrl_c

if TYPE_CHECKING:
    import asyncio

    from eskit.runtime.runner import RunnerEvent
    from eskit.runtime.service import Service

LABEL = 16
"""How wide the name of a part is before what it does."""
_PORTS = range(65536)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``; wrong usage if they are none."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) in _PORTS):
        raise typer.BadParameter(f"{text!r} is neither PORT nor HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def check_address(text: str | None) -> str | None:
    """The value of an option that takes an address, if it is one."""
    if text is not None:
        parse_address(text)
    return text


Health = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        callback=check_address,
        help="Answer GET /health and /live there; port 0: a free one. "
        "HOST is by default 127.0.0.1.",
    ),
]
"""Where a command that runs until it is stopped answers probes."""


def _on_signal(number: int) -> None:
    if number == signal.SIGINT:
        end_line_of_ctrl_c()


async def run_services(
    services: Sequence[Service],
    *,
    health: str | None,
    tell: Callable[[str], None],
    on_event: Callable[[RunnerEvent], None] | None = None,
    stop: asyncio.Event | None = None,
    keep_going: bool = False,
) -> None:
    """Run services until a signal comes or `stop` is set; `tell` gets the URL of `health`.

    With `keep_going` one that fails does not end the others, see `Runner`. A second signal ends
    the process at once. Raises what the runner raises.
    """
    import asyncio

    from eskit.leavable import LeavableThreads
    from eskit.runtime.probes import HealthProbe
    from eskit.runtime.runner import Runner

    asyncio.get_running_loop().set_default_executor(LeavableThreads())
    runner = Runner(services, on_event=on_event, on_signal=_on_signal, keep_going=keep_going)
    if health is None:
        await runner.run(stop)
        return
    host, port = parse_address(health)
    probe = HealthProbe(runner.check_health, host=host, port=port)
    await probe.start()
    tell(probe.url)
    try:
        await runner.run(stop)
    finally:
        await probe.stop()
