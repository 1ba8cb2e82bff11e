"""Traces in a file, each written as soon as its question is answered, so that a run that was stopped goes on.

The first line says which run it is, every other line is a trace. A last line that a kill has torn is dropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selector.errors import DataFileError, UsageError
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
        self._path = path
        self._traces: dict[tuple[str, str, str | None], Trace] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        header, content = json.dumps({"run": run}) + "\n", path.read_bytes() if path.is_file() else b""
        if header.encode().startswith(content):  # nothing yet, or no more than a kill has left of the first line
            path.write_text(header, encoding="utf-8")
            return
        whole, newline, _ = content.rpartition(b"\n")
        there = self._read(whole)
        if there != json.loads(json.dumps(run)):
            raise UsageError(
                f"{path} holds the traces of another run, {there}",
                expected=str(run),
                remedy="Pass the same options and data, or another --out.",
            )
        with path.open("r+b") as file:
            file.truncate(len(whole + newline))

    def find(self, problem: Problem) -> Trace | None:
        """Looks a problem up.

        Args:
            problem: The problem.

        Returns:
            Its trace; None where it is not answered yet, or its question or gold answer has changed.
        """
        return self._traces.get((problem.uid, problem.question, problem.answer))

    def append(self, trace: Trace) -> None:
        """Writes a trace at once.

        Args:
            trace: Of a problem that is not in the file.
        """
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(trace.as_json(), ensure_ascii=False) + "\n")

    def _read(self, whole: bytes) -> Any:
        """Fills the traces in; gives the run that the file says it is."""
        try:
            first, *others = (json.loads(line) for line in whole.split(b"\n"))
            for row in others:
                del row["malformed"]
                trace = Trace(**row | {"stages": tuple(Stage(**stage) for stage in row["stages"])})
                self._traces[trace.uid, trace.question, trace.gold] = trace
            return first["run"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataFileError(
                f"{self._path} is no file of traces ({error})",
                expected="what `reason --out` has written",
                remedy="Choose another --out.",
            ) from error
