"""SSH servers that greet, so that their door is open, and never come to the end of a key exchange."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_GREETING = b"SSH-2.0-OpenSSH_9.2\r\n"
#: SSH_MSG_IGNORE with one byte (RFC 4253, 6 and 11.2).
_IGNORE = struct.pack(">IB", 12, 5) + b"\x02" + struct.pack(">I", 1) + b"x" + b"\0" * 5


@contextlib.contextmanager
def hostile(address: str = "127.0.0.1", port: int = 0, *, drips: bool) -> Iterator[int]:
    """One at this address, and its port. It says nothing more, or ``drips`` what is to be ignored."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(_GREETING)
            while not over.wait(0.5):
                if drips:
                    connection.sendall(_IGNORE)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server((address, port)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
