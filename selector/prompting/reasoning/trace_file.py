"""Traces in a file, each written as soon as its question is answered, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selector.data.continued_file import ContinuedFile
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.trace import Stage, Trace


def problems_fingerprint(problems: Sequence[Problem]) -> str:
    """Tells problems from others.

    Args:
        problems: The problems.

    Returns:
        The sha256 of all that they hold, hexadecimal.
    """
    return hashlib.sha256(json.dumps([asdict(problem) for problem in problems]).encode()).hexdigest()


class TraceFile:
    """A JSONL file of traces that grows.

    Args:
        path: The file; made with its folder when missing.
        run: What its traces depend on beside the question; what JSON can write.

    Raises:
        DataFileError: When the file is there and holds something else.
        UsageError: When it holds the traces of another run.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self._traces: dict[tuple[str, str, str | None, tuple[str, ...]], Trace] = {}
        self._file = ContinuedFile(path, run, holds="traces", writer="reason --out", take=self._take)

    def find(self, problem: Problem) -> Trace | None:
        """Looks a problem up.

        Args:
            problem: The problem.

        Returns:
            Its trace; None where it is not answered yet, or its question or gold answers have changed.
        """
        return self._traces.get((problem.uid, problem.question, problem.answer, problem.aliases))

    def append(self, trace: Trace, problem: Problem) -> None:
        """Writes a trace at once.

        Args:
            trace: The trace.
            problem: What it answers; it is not in the file.
        """
        self._file.append(trace.as_json() | {"aliases": problem.aliases})

    def _take(self, row: Any) -> None:
        del row["malformed"]
        aliases = tuple(row.pop("aliases", ()))
        trace = Trace(**row | {"stages": tuple(Stage(**stage) for stage in row["stages"])})
        self._traces[trace.uid, trace.question, trace.gold, aliases] = trace
