"""The same raw messages sent to a server directly and through pgjanus; see README.md."""

from .case import CASES, Case, run_case
from . import (copying, endings, leaving, limits, portals, queries, startup, transactions, unasked,  # noqa
               volume)  # noqa: F401 - importing registers the cases

__all__ = ["CASES", "Case", "run_case"]
