"""A server that breaks the protocol. What it does wrong is chosen by the client's application_name."""

import socket
import struct
import threading

from .messages import message

OK = message("R", struct.pack(">I", 0))
KEY = message("K", struct.pack(">II", 77, 88))
READY = message("Z", b"I")
SETTING = message("S", b"server_version\0" + b"15.0\0")
ROWS = message("T", b"\0\1a\0" + struct.pack(">IhIhih", 0, 0, 25, -1, -1, 0))
ROW = message("D", struct.pack(">Hi", 1, 1) + b"x")
DONE = message("C", b"SELECT 1\0")
FATAL = message("E", b"SFATAL\0VFATAL\0C57P01\0Mgoing away\0\0")


def authentication(code, data=b""):
    return message("R", struct.pack(">I", code) + data)


SASL = authentication(10, b"SCRAM-SHA-256\0\0")
ZERO_SIGNATURE = authentication(12, b"v=" + b"A" * 43 + b"=")

# What it sends instead of a log-in, and the SQLSTATE that the client then gets.
LOGINS = {
    "garbage": (b"\0\1\2 garbage, garbage and more garbage", "08P01"),
    "nothing at all": (b"", "08P01"),
    "GSSAPI": (authentication(7), "28P01"),
    "a method from the future": (authentication(999), "28P01"),
    "a cut authentication request": (message("R", b"\0"), "08P01"),
    "an unknown SASL mechanism": (authentication(10, b"SCRAM-SHA-999\0\0"), "28P01"),
    "a nonce of its own": (SASL + authentication(11, b"r=zzz,s=c2FsdA==,i=16"), "28P01"),
    "no proof asked for": (SASL + OK + SETTING + KEY + READY, "08P01"),
    "a signature before the proof": (SASL + ZERO_SIGNATURE + OK + READY, "08P01"),
    "an error": (FATAL, "57P01"),
    "an error without its end": (message("E", b"SFATAL"), "08P01"),
    "a message of 1 GB": (b"S\x3f\xff\xff\xff" + b"x" * 100_000, "08P01"),
    "rows": (ROWS + DONE + READY, "08P01"),
}

# What it sends as the answer to a query, and how the session goes on: "ready", or "ended".
ANSWERS = {
    "an ordinary answer": (ROWS + ROW + DONE + READY, "ready"),
    "ReadyForQuery twice": (ROWS + DONE + READY + READY, "ready"),
    "malformed settings": (message("S", b"abc") + message("S") + ROWS + DONE + READY, "ready"),
    "a setting of 200 kB": (message("S", b"application_name\0" + b"m" * 200_000 + b"\0") + DONE + READY, "ready"),
    "malformed tags": (message("C", b"SELECT") + message("C") + READY, "ready"),
    "an error without fields": (message("E", b"\0") + READY, "ready"),
    "an error without its end": (message("E", b"SERROR") + READY, "ready"),
    "an empty error": (message("E") + READY, "ready"),
    "an error of 200 kB": (message("E", b"SERROR\0VERROR\0C22000\0M" + b"m" * 200_000 + b"\0\0") + READY, "ready"),
    "log-in messages": (OK + KEY + DONE + READY, "ready"),
    "COPY IN twice": (message("G", b"\0\0\0") * 2 + DONE + READY, "ready"),
    "ReadyForQuery of 70 kB": (ROWS + DONE + message("Z", b"I" * 70_000), "ready"),
    "ReadyForQuery without a status": (ROWS + DONE + message("Z"), "ready"),
    "a length below four": (b"T\0\0\0\1", "ended"),
    "a length beyond 1 GB": (b"D\x7f\xff\xff\xff", "ended"),
    "half a message": (ROWS[:-3], "ended"),
    "half a row of 1 MB": (ROWS + b"D\x00\x10\x00\x00" + b"y" * 200_000, "ended"),
    "rows and no end": (ROWS + ROW, "ended"),
    "FATAL among rows": (ROWS + ROW + FATAL, "ended"),
}


class HostileServer:
    """Listens on a free port of loopback until stop()."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with client:
                client.settimeout(30)
                self._play(client)
        except OSError:
            pass  # The proxy closed first.

    def _play(self, client):
        parameters = self._startup(client)
        if parameters is None:
            return
        wrong = parameters.get(b"application_name", b"").decode()
        if wrong in LOGINS:
            client.sendall(LOGINS[wrong][0])
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
            return
        client.sendall(OK + SETTING + KEY + READY)
        answer, outcome = ANSWERS[wrong.removeprefix("answer: ")]
        while self._query(client):
            client.sendall(answer)
            if outcome == "ended":
                return

    @staticmethod
    def _startup(client):
        while True:
            size = struct.unpack(">I", _exactly(client, 4))[0]
            body = _exactly(client, size - 4)
            code = struct.unpack_from(">I", body)[0]
            if code == 80877102:
                return None
            if code not in (80877103, 80877104):
                parts = body[4:].split(b"\0")
                return dict(zip(parts[::2], parts[1::2]))
            client.sendall(b"N")

    @staticmethod
    def _query(client):
        """Waits for Query or Sync; False when the proxy leaves."""
        while True:
            head = _exactly(client, 5)
            _exactly(client, struct.unpack(">I", head[1:])[0] - 4)
            if head[:1] in b"QS":
                return True
            if head[:1] == b"X":
                return False


def _exactly(client, size):
    received = b""
    while len(received) < size:
        block = client.recv(size - len(received))
        if not block:
            raise OSError("closed")
        received += block
    return received
