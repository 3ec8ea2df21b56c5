"""A TCP proxy that cuts connections after a number of bytes, as a network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class CuttingProxy:
    """Forwards to a server on loopback, and cuts the connection that passes the nth byte.

    A cut is abrupt, in the direction in which it happens: the other side may have got everything.
    """

    def __init__(self, port: int, rewrite: Callable[[bytes], bytes] = bytes) -> None:
        """`rewrite` changes what the server says on its way to the client."""
        self._rewrite = rewrite
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._left: int | None = None
        self._open: set[socket.socket] = set()
        self._silent = threading.Event()
        self._held = b""
        self._released = threading.Event()
        self.cuts = 0
        self.passed = 0
        """How many bytes have passed, in both directions."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def cut_after(self, count: int) -> None:
        """Cut whoever passes the nth byte from now on, in whichever direction."""
        with self._lock:
            self._left = count

    def fall_silent(self) -> None:
        """Swallow everything from now on, as a network does whose other end has vanished."""
        self._silent.set()

    def cut_all(self) -> None:
        """Cut every connection; new ones are welcome."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def hold(self, text: bytes) -> None:
        """Keep the next request with that text until `release`, and cut off who sent it."""
        self._released.clear()
        self._held = text

    def release(self) -> None:
        """Let the server have what was kept."""
        self._released.set()

    def close(self) -> None:
        """Stop, and cut everything."""
        self._listener.close()
        with self._lock:
            for each in self._open:
                each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            with self._lock:
                self._open |= {client, server}
            for source, sink, change in ((client, server, bytes), (server, client, self._rewrite)):
                passing = (source, sink, change)
                threading.Thread(target=self._pass_on, args=passing, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._silent.is_set():
                    continue
                if self._held and self._held in data:
                    self._held = b""
                    source.shutdown(socket.SHUT_RDWR)
                    self._released.wait()
                    sink.sendall(data)
                    break
                keep = self._spend(len(data))
                sink.sendall(change(data[:keep]))
                if keep < len(data):
                    break
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, sink}
        source.close()

    def _spend(self, count: int) -> int:
        """How many of so many bytes may pass."""
        with self._lock:
            self.passed += count
            if self._left is None:
                return count
            passed = min(self._left, count)
            self._left -= passed
            if passed < count:
                self._left = None
                self.cuts += 1
            return passed
