#!/usr/bin/env python3
"""run.py DIRECT PROXIED USER PASSWORD DATABASE [WORDS]: plays the cases at both and compares.

DIRECT and PROXIED are host:port. WORDS: only the cases whose sentence contains them.
"""

import difflib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script import CASES, run_case  # noqa: E402


def address(argument):
    host, port = argument.rsplit(":", 1)
    return host, int(port)


def main():
    direct, proxied, *login = sys.argv[1:6]
    words = " ".join(sys.argv[6:])
    failures = 0
    for one in CASES:
        if words not in one.sentence:
            continue
        expected = run_case(one, address(direct), tuple(login), direct=True)
        for segment in (None,) if one.bulk else (None, 1):
            try:
                found = run_case(one, address(proxied), tuple(login), segment)
            except (AssertionError, OSError) as error:  # A step that waits in vain, a reset.
                found = [f"failed: {error}"]
            how = "" if segment is None else ", byte by byte"
            if found != expected:
                failures += 1
                print(f"DIFFERS  {one.sentence}{how}")
                print("\n".join("    " + line for line in difflib.unified_diff(
                    expected, found, "direct", "through pgjanus", lineterm="", n=1)))
            else:
                print(f"equal    {one.sentence}{how} ({len(expected)} messages)")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
