"""Signals that ask a command to stop."""

import signal
import threading

import pytest

from eskit.cli.stopping import stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_also_while_the_lock_of_the_event_is_held(number):
    with stop_on_signal() as stop:
        lock = stop._cond._lock
        lock.acquire()  # as while somebody is about to wait
        given_up = threading.Timer(5, lock.release)
        given_up.start()

        signal.raise_signal(number)

        assert given_up.is_alive()
        given_up.cancel()
        lock.release()
        assert stop.wait(20)


def test_the_second_signal_interrupts():
    with stop_on_signal():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
