"""What was written for each query, and a file that takes it query by query, so that a run that was stopped goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.data.continued_file import ContinuedFile
from selector.types import Example, Query


@dataclass(frozen=True, slots=True)
class Generation:
    """One text that was written.

    Attributes:
        query: The uid of the query.
        label: The label that was asked for.
        prompt: What the language model was given.
        generation: What it wrote.
        example: The demonstration; None where it was refused.
        refused: Why; empty where it was kept.
    """

    query: str
    label: str
    prompt: str
    generation: str
    example: Example | None
    refused: str = ""


class GenerationFile:
    """A JSONL file with a row for each query: its fields and all that was written for it.

    Args:
        path: The file; made with its folder when missing.
        run: What generations depend on beside the query; what JSON can write.

    Raises:
        DataFileError: When the file is there and holds something else.
        UsageError: When it holds the generations of another run.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self._written: dict[tuple[str, str], list[Generation]] = {}
        writer = "generate-demonstrations --out"
        self._file = ContinuedFile(path, run, holds="generations", writer=writer, take=self._take)

    def find(self, query: Query) -> list[Generation] | None:
        """Looks a query up.

        Args:
            query: The query.

        Returns:
            What was written for it; None where nothing was yet, or its fields have changed.
        """
        return self._written.get(_key(query.uid, query.fields))

    def append(self, query: Query, generations: Sequence[Generation]) -> None:
        """Writes what was written for a query at once.

        Args:
            query: A query that is not in the file.
            generations: All of it.
        """
        rows = [_row(one) for one in generations]
        self._file.append({"query": query.uid, "fields": dict(query.fields), "generations": rows})

    def _take(self, row: Any) -> None:
        own = []
        for one in row["generations"]:
            kept = one["example"]
            example = Example(kept["uid"], kept["fields"], one["label"]) if kept else None
            own.append(
                Generation(row["query"], one["label"], one["prompt"], one["generation"], example, one["refused"])
            )
        self._written[_key(row["query"], row["fields"])] = own


def _row(one: Generation) -> dict[str, Any]:
    example = {"uid": one.example.uid, "fields": dict(one.example.fields)} if one.example else None
    return {
        "label": one.label,
        "prompt": one.prompt,
        "generation": one.generation,
        "refused": one.refused,
        "example": example,
    }


def _key(uid: str, fields: Mapping[str, str]) -> tuple[str, str]:
    return uid, repr(sorted(fields.items()))
