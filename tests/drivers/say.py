"""What the drivers' scripts in Python share: lines that are compared, and a victim to cancel."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

from harness.wait import wait_until  # noqa: E402

URL = os.environ["DATABASE_URL"]


def say(label, *values):
    """One line of the transcript. Nothing in it may differ between two runs."""
    print(label, *(repr(value) for value in values), sep=" | ", flush=True)


def refused(label, error, state, call, *arguments, **keywords):
    """Runs what must fail with `error`; notes class and SQLSTATE (`state` is the attribute's name)."""
    try:
        call(*arguments, **keywords)
    except error as raised:
        say(label, type(raised).__name__, getattr(raised, state, None), str(raised).strip())
        return
    raise AssertionError(f"{label}: it did not fail")


RUNNING = ("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
           "AND pid <> pg_backend_pid() AND query LIKE %s")


def until(condition, what):
    """Waits for a condition."""
    wait_until(condition, 20, what)
