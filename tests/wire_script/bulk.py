"""A server that speaks just enough of the protocol to send and take messages of any length."""

import socket
import struct
import threading

from .hostile import KEY, OK, READY, ROWS, SETTING, HostileServer, _exactly
from .messages import message

BLOCK = bytes(1 << 20)
DONE = message("C", b"SELECT 1\0")
GREETING = message("N", b"SNOTICE\0VNOTICE\0C00000\0Mwelcome to the bulk server\0\0")
LONG_SETTING = message("S", b"search_path\0" + b"s" * 100_000 + b"\0")


class BulkServer(HostileServer):
    """Counts what it takes (`taken`) and sends (`sent`). While `reading` is clear it takes nothing.

    A query's answer is one row of `row` body bytes; before a query is read to its end it floods the
    client with `notices` notices of a megabyte each, from a thread of its own.
    """

    def __init__(self, row=0, notices=0):
        self.row, self.notices = row, notices
        self.taken = self.sent = 0
        self.reading = threading.Event()
        self.reading.set()
        super().__init__()

    def _play(self, client):
        client.settimeout(120)
        if self._startup(client) is None:
            return
        client.sendall(OK + GREETING + LONG_SETTING + SETTING + KEY + READY)
        flood = threading.Thread(target=self._flood, args=(client,), daemon=True)
        flood.start()
        while True:
            kind, size = struct.unpack(">cI", _exactly(client, 5))
            left = size - 4
            while left:
                self.reading.wait(120)
                block = client.recv(min(left, 1 << 18))
                if not block:
                    raise OSError("closed")
                left -= len(block)
                self.taken += len(block)
            if kind == b"X":
                return
            if kind in b"QS":
                flood.join()
                self._answer(client)

    def _flood(self, client):
        notice = message("N", b"SNOTICE\0VNOTICE\0C00000\0M" + b"n" * (1 << 20) + b"\0\0")
        for _ in range(self.notices):
            try:
                client.sendall(notice)
            except OSError:
                return  # The test has failed and ended.
            self.sent += len(notice)

    def _answer(self, client):
        client.sendall(ROWS + b"D" + struct.pack(">IHi", self.row + 4, 1, self.row - 6))
        left = self.row - 6
        view = memoryview(BLOCK)
        while left:
            count = client.send(view[:min(left, len(view))])
            left -= count
            self.sent += count
        client.sendall(DONE + READY)


class BulkClient:
    """A client's socket after its log-in (`peer`), which counts instead of keeping."""

    def __init__(self, peer):
        self.socket = peer._socket  # noqa: SLF001 - the peer's own; it has done its part.
        self.socket.settimeout(120)

    def send_long(self, kind, size):
        """A message whose length field says `size`, its body zeros (a query's text ends with one)."""
        self.socket.sendall(kind + struct.pack(">I", size))
        left = size - 4
        while left:
            left -= self.socket.send(memoryview(BLOCK)[:min(left, len(BLOCK))])

    def fill(self):
        """Sends until nobody takes any more; how much that was."""
        self.socket.setblocking(False)
        sent = 0
        try:
            while sent < 1 << 30:
                sent += self.socket.send(BLOCK)
        except BlockingIOError:
            pass
        self.socket.settimeout(120)
        return sent

    def messages(self):
        """(type, length field) of messages up to ReadyForQuery; bodies are dropped."""
        while True:
            kind, size = struct.unpack(">cI", _exactly(self.socket, 5))
            left = size - 4
            while left:
                block = self.socket.recv(min(left, 1 << 20))
                if not block:
                    raise OSError("closed")
                left -= len(block)
            yield kind, size
            if kind == b"Z":
                return


def silent_server():
    """A listening socket that accepts (the kernel does) and never says a word."""
    return socket.create_server(("127.0.0.1", 0))
