"""Throwaway servers, a pgjanus between them, write load, and an independent comparison.

Shares no code with the program: what it finds out, it asks Postgres.
"""

from .cluster import Cluster, ClusterFactory, TlsFiles
from .compare import assert_equal, compare, equal_within
from .load import LedgerLoad, WriteLoad
from .program import CliResult, Pgjanus, find_binary
from .wait import free_port, wait_until
from .world import SCHEMA as WORLD
from .world import WorldLoad

__all__ = [
    "CliResult", "Cluster", "ClusterFactory", "LedgerLoad", "Pgjanus", "TlsFiles", "WORLD",
    "WorldLoad", "WriteLoad",
    "assert_equal", "compare", "equal_within", "find_binary", "free_port", "wait_until",
]
