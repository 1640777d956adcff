"""Waiting for conditions (never for time) and free ports."""

import os
import random
import socket
import time

_chooser = random.SystemRandom()

# All limits are this many times longer: programs under a sanitizer are slow (tests/run --sanitize).
PATIENCE = float(os.environ.get("PGJANUS_PATIENCE", "1"))


def wait_until(condition, limit=30.0, what="the condition", every=0.02):
    """Polls `condition()` until it is true and returns its value; fails after `limit` seconds.

    `what` names the condition in the failure; when it is callable, it is asked then. An exception
    of the condition counts as "not yet" and is shown at the end.
    """
    limit *= PATIENCE
    deadline = time.monotonic() + limit
    last_error = None
    while True:
        try:
            value = condition()
            last_error = None
            if value:
                return value
        except Exception as error:  # noqa: BLE001 - e.g. connection refused while starting
            last_error = error
        if time.monotonic() >= deadline:
            name = what() if callable(what) else what
            because = f" (last error: {last_error})" if last_error else ""
            raise AssertionError(f"waited {limit:g} s in vain for {name}{because}")
        time.sleep(every)


_claims = []  # Of ports, while this process lives.


def free_port():
    """A loopback port nobody listens on, below the range that outgoing connections take. Other test processes get
    others: a name in the abstract namespace is taken for it until this process ends (unix(7))."""
    for _ in range(200):
        port = _chooser.randrange(20000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pgjanus-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise RuntimeError("no free port between 20000 and 32000")
