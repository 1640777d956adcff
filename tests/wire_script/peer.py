"""A raw client: sends bytes as it is told and writes down every message that comes back."""

import base64
import hashlib
import hmac
import os
import re
import select
import socket
import struct
import time

from . import messages


class Peer:
    """One connection. `segment`: bytes sent at once (None: as many as the socket takes).

    While it sends it also reads, as a client with a pipeline must. `transcript` holds a line for each
    message read, without what must differ between two connections.
    """

    LIMIT = 20.0  # Seconds that any step may take before the case fails.

    def __init__(self, address, login, segment=None):
        self.address = address
        self.login_as = login  # user, password, database
        self.segment = segment
        self.transcript = []
        self.key = None  # BackendKeyData
        self._input = bytearray()
        self._ended = False
        self._socket = socket.create_connection(address, timeout=self.LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()

    def another(self):
        """A second connection to the same place, with a transcript of its own."""
        return Peer(self.address, self.login_as)

    def cancel(self, key=None):
        """Sends a cancel request with our key (or another) and waits until it was taken."""
        other = self.another()
        other.send(messages.cancel_request(*(key or self.key)))
        other.end()
        other.close()

    # Bytes.

    def send(self, *parts):
        """Sends all parts; a server that has closed the connection is no error (reading tells)."""
        view = memoryview(b"".join(parts))
        deadline = time.monotonic() + self.LIMIT
        while view and not self._ended:
            readable, writable, _ = select.select([self._socket], [self._socket], [], self._left(deadline))
            if readable:
                self._receive()
            if writable:
                try:
                    sent = self._socket.send(view[:self.segment or len(view)])
                except (BrokenPipeError, ConnectionResetError):
                    return
                view = view[sent:]

    def end_of_input(self):
        """Says that nothing more will be sent (half-close)."""
        self._socket.shutdown(socket.SHUT_WR)

    def _left(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError("no progress within %g s; so far:\n%s"
                                 % (self.LIMIT, "\n".join(self.transcript[-20:])))
        return left

    def _receive(self):
        try:
            block = self._socket.recv(1 << 18)
        except ConnectionResetError:
            block = b""
        self._input += block
        self._ended = not block

    def _need(self, size):
        """Waits for `size` bytes; False when the stream ends before."""
        deadline = time.monotonic() + self.LIMIT
        while len(self._input) < size and not self._ended:
            select.select([self._socket], [], [], self._left(deadline))
            self._receive_if_ready()
        return len(self._input) >= size

    def _receive_if_ready(self):
        if select.select([self._socket], [], [], 0)[0]:
            self._receive()

    def _take(self, size):
        taken = bytes(self._input[:size])
        del self._input[:size]
        return taken

    # Replies.

    def byte(self):
        """The one-byte answer to SSLRequest and GSSENCRequest."""
        answer = self._take(1).decode() if self._need(1) else "end"
        self.transcript.append(f"byte {answer}")
        return answer

    def read(self):
        """The next message as (type, body), noted; None at the end of the stream."""
        if not self._need(5):
            self.transcript.append("end" if not self._input else f"end after {bytes(self._input)!r}")
            return None
        kind = chr(self._input[0])
        size = struct.unpack_from(">I", self._input, 1)[0]
        if not self._need(size + 1):
            self.transcript.append(f"end within a message {kind} of {size} bytes")
            return None
        body = self._take(size + 1)[5:]
        if kind == "K":
            self.key = struct.unpack(">II", body)
        self.transcript.append(shown(kind, body))
        return kind, body

    def until(self, kind, count=1):
        """Reads until `count` messages of type `kind` came, or the stream ended."""
        while count:
            reply = self.read()
            if reply is None:
                return None
            count -= reply[0] == kind
        return reply

    def ready(self, count=1):
        return self.until("Z", count)

    def end(self):
        """Reads to the end of the stream."""
        while self.read() is not None:
            pass

    # Log-in.

    def start(self, *parameters, version=(3, 0)):
        """StartupMessage and log-in up to the first ReadyForQuery, or the end."""
        user, _, database = self.login_as
        self.send(messages.startup((("user", user), ("database", database), *parameters), version))
        self.authenticate()

    def authenticate(self):
        while True:
            reply = self.read()
            if reply is None or reply[0] == "Z":
                break
            if reply[0] != "R":
                continue
            code, data = struct.unpack_from(">I", reply[1])[0], reply[1][4:]
            if code == 3:
                self.send(messages.message("p", messages.text(self.login_as[1])))
            elif code == 10:
                nonce = base64.b64encode(os.urandom(18)).decode()
                bare = f"n=,r={nonce}"
                first = b"n,," + bare.encode()
                self.send(messages.message("p", b"SCRAM-SHA-256\0" + struct.pack(">I", len(first)) + first))
            elif code == 11:
                self.send(messages.message("p", self._proof(bare, data.decode())))
        # The order in which a server reports its settings is no promise.
        reports = [i for i, line in enumerate(self.transcript) if line.startswith("S ")]
        for i, line in zip(reports, sorted(self.transcript[i] for i in reports)):
            self.transcript[i] = line

    def _proof(self, bare, server_first):
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.login_as[1].encode(),
                                     base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        signature = hmac.digest(hashlib.sha256(client_key).digest(),
                                f"{bare},{server_first},{without_proof}".encode(), "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


def fields(body):
    """ErrorResponse and NoticeResponse as a dictionary."""
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}


def columns(body):
    """RowDescription as tuples, without the ids of tables, which are new for each table."""
    found, at = [], 2
    for _ in range(struct.unpack_from(">H", body)[0]):
        end = body.index(b"\0", at)
        table, *rest = struct.unpack_from(">IhIhih", body, end + 1)
        found.append((body[at:end].decode(), "a table" if table else "none", *rest))
        at = end + 19
    return found


def shown(kind, body):
    """One line for a message, without what two connections never have in common."""
    if kind == "K":
        return f"K {len(body)} bytes"
    if kind == "R":
        code = struct.unpack_from(">I", body)[0]
        return f"R {code}" + (f" {body[4:]!r}" if code == 10 else "")
    if kind == "A":
        return f"A {body[4:]!r}"  # Without the process id.
    if kind in "EN":
        line = f"{kind} " + " ".join(f"{code}={value!r}" for code, value in fields(body).items())
        return re.sub(r"pg_temp_\d+", "pg_temp_N", line)
    if kind == "T":
        return f"T {columns(body)}"
    if len(body) > 400:
        return f"{kind} {len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}"
    return f"{kind} {body!r}"
