"""Times a way to find neighbours, for one query at a time and for all together; needs nothing but Python.

A program of any environment answers a job with what this gives, so that all are timed by the same lines.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Numbers = list[int]


def read_job() -> dict[str, Any]:
    """Reads the job that the command line names.

    Returns:
        "pool" and "queries", lists of texts; "vectors", an .npz file with rows for both; "k"; "shortlist", for methods
        that look at more; "encoder", a folder to embed queries with, or None to look them up; "slow", how many queries
        a slow way is asked.
    """
    return dict(json.loads(Path(sys.argv[1]).read_text()))


def write_answer(answer: dict[str, Any]) -> None:
    """Writes the answer where the command line says.

    Args:
        answer: Name of a way to what `timed` gives.
    """
    Path(sys.argv[2]).write_text(json.dumps(answer))


def timed(
    one: Callable[[str], Numbers], many: Callable[[Sequence[str]], list[Numbers]], queries: Sequence[str]
) -> dict[str, Any]:
    """Times a way to find neighbours.

    Args:
        one: Query to positions in the pool, nearest first.
        many: Queries to positions, each nearest first.
        queries: N different queries. The first half is asked one by one, the second half together, so that nothing is
            known already; one of them is asked before, to load what is loaded late.

    Returns:
        "found", what was found for each query; "single_ms", milliseconds of each query of the first half;
        "batch_ms", milliseconds for each query of the second half.
    """
    half = len(queries) // 2
    one("a query to warm up with")
    found, singles = [], []
    for query in queries[:half]:
        start = time.perf_counter()
        found.append(one(query))
        singles.append(1000 * (time.perf_counter() - start))
    start = time.perf_counter()
    together = many(queries[half:])
    seconds = time.perf_counter() - start
    return {"found": found + together, "single_ms": singles, "batch_ms": 1000 * seconds / max(1, len(queries) - half)}
