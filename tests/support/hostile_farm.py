# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile farm would have nodes ask: a service inside their network, that counts who comes."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Victim:
    """A service of loopback that speaks to everybody who connects, and remembers what they said."""

    def __init__(self, says: bytes) -> None:
        self._says, self._socket = says, socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/secret"
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            with link, contextlib.suppress(OSError):
                link.settimeout(5)
                self.heard.append(link.recv(1 << 16))
                link.sendall(self._says)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@contextlib.contextmanager
def victim(says: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret") -> Iterator[Victim]:
    """A service until the block ends."""
    made = Victim(says)
    try:
        yield made
    finally:
        made.close()


def closed_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
