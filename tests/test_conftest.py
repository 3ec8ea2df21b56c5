"""The walls around the tests stand."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_a_test_cannot_reach_the_network():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
        pytest.raises(PermissionError, match="loopback only"),
    ):
        sock.connect(("192.0.2.1", 80))


def test_a_test_can_reach_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            assert client.getpeername()[1] == port


def test_a_test_starts_in_an_empty_folder(tmp_path):
    assert Path.cwd() == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_test_sees_no_settings_of_the_machine():
    assert not [name for name in os.environ if name.startswith("ESKIT_")]


@given(st.integers())
def test_isolation_agrees_with_hypothesis(number):
    assert isinstance(number, int)
