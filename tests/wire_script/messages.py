"""Frontend messages as bytes, named as in the manual ("Message Formats")."""

import struct

SSL_REQUEST = struct.pack(">II", 8, 80877103)
GSSENC_REQUEST = struct.pack(">II", 8, 80877104)


def message(kind, body=b""):
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def text(value):
    return (value if isinstance(value, bytes) else value.encode()) + b"\0"


def startup(parameters, version=(3, 0), tail=b"\0"):
    body = struct.pack(">HH", *version)
    for name, value in parameters:
        body += text(name) + text(value)
    body += tail
    return struct.pack(">I", len(body) + 4) + body


def cancel_request(process_id, secret_key):
    return struct.pack(">IIII", 16, 80877102, process_id, secret_key)


def query(sql):
    return message("Q", text(sql))


def parse(sql, name="", types=()):
    return message("P", text(name) + text(sql) + struct.pack(">H", len(types))
                   + b"".join(struct.pack(">I", oid) for oid in types))


def bind(values=(), statement="", portal="", binary_results=False):
    """`values`: str or bytes in text format, None for NULL."""
    body = text(portal) + text(statement) + struct.pack(">HH", 0, len(values))
    for value in values:
        if value is None:
            body += struct.pack(">i", -1)
        else:
            raw = value if isinstance(value, bytes) else value.encode()
            body += struct.pack(">i", len(raw)) + raw
    body += struct.pack(">HH", 1, 1) if binary_results else struct.pack(">H", 0)
    return message("B", body)


def describe_statement(name=""):
    return message("D", b"S" + text(name))


def describe_portal(name=""):
    return message("D", b"P" + text(name))


def close_statement(name=""):
    return message("C", b"S" + text(name))


def close_portal(name=""):
    return message("C", b"P" + text(name))


def execute(portal="", limit=0):
    return message("E", text(portal) + struct.pack(">I", limit))


def function_call(oid, arguments):
    """Arguments and result in binary format."""
    body = struct.pack(">IHHH", oid, 1, 1, len(arguments))
    for value in arguments:
        body += struct.pack(">i", len(value)) + value
    return message("F", body + struct.pack(">H", 1))


SYNC, FLUSH, TERMINATE = message("S"), message("H"), message("X")
COPY_DONE = message("c")


def copy_data(raw):
    return message("d", raw)


def copy_fail(reason):
    return message("f", text(reason))
