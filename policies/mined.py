"""What mining finds: queries with scored candidates, and the header that says what their scores depend on.

This module knows neither files, language models nor encoders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from selector.types import Example

FORMAT_VERSION = 2


class Candidate(NamedTuple):
    """A demonstration scored one-shot for a query.

    Attributes:
        position: Its position in the pool.
        uid: Its uid.
        score: Log-probability of the query's gold label behind it, nats; higher is better.
    """

    position: int
    uid: str
    score: float


@dataclass(frozen=True, slots=True)
class MinedQuery:
    """A labelled query and its scored candidates.

    Attributes:
        query: The query.
        candidates: Best first; of equal scores the one that recall ranked higher.
    """

    query: Example
    candidates: tuple[Candidate, ...]

    def line(self) -> str:
        """Writes this query as JSON.

        Returns:
            One line, with its newline.
        """
        content = {
            "uid": self.query.uid,
            "label": self.query.label,
            "fields": dict(self.query.fields),
            "candidates": [candidate._asdict() for candidate in self.candidates],
        }
        return json.dumps(content, ensure_ascii=False) + "\n"

    @classmethod
    def of_line(cls, line: str) -> MinedQuery:
        """Reads what `line` wrote.

        Args:
            line: One line.

        Returns:
            The query.

        Raises:
            ValueError: When it is not JSON.
            KeyError: When a key is missing.
            TypeError: When a value has another type.
            InvalidExampleError: When it holds no valid example.
        """
        content = json.loads(line)
        candidates = tuple(
            Candidate(int(entry["position"]), str(entry["uid"]), float(entry["score"]))
            for entry in content["candidates"]
        )
        return cls(Example(content["uid"], content["fields"], content["label"]), candidates)


@dataclass(frozen=True)
class MiningHeader:
    """What the scores of a mined file depend on.

    Attributes:
        pool: Fingerprint of the pool.
        queries: Fingerprint of all labelled queries that might be mined.
        template: Fingerprint of the prompt template.
        lm: Fingerprint of the language model.
        scoring: The engine's scoring function.
        calibration: The engine's calibration.
        recall: The selectors that recall candidates.
        candidates: How many are scored for each query.
        context: How many demonstrations stood before each candidate.
        storage: How the queries are stored.
        seed: Seeds the order of the queries.
        version: Of the format.
        near_duplicates: The similarity from which a candidate counted as the query's duplicate; None where normalised
            texts were compared alone.
    """

    pool: str
    queries: str
    template: str
    lm: str
    scoring: str
    calibration: str
    recall: tuple[str, ...]
    candidates: int
    context: int
    storage: str
    seed: int
    version: int = FORMAT_VERSION
    near_duplicates: float | None = None

    def differences(self, other: MiningHeader) -> list[str]:
        """Names what differs from another header.

        Args:
            other: The other header.

        Returns:
            Attribute names; empty when lines of both may stand in one file.
        """
        return [entry.name for entry in fields(self) if getattr(self, entry.name) != getattr(other, entry.name)]


def merged(lines: Sequence[MinedQuery]) -> list[MinedQuery]:
    """Joins lines of the same query, as several rounds of mining make them.

    Args:
        lines: Mined queries, whose scores can be compared.

    Returns:
        One line for each query, in the order of their first ones; candidates by falling score, each once.
    """
    together: dict[str, tuple[Example, dict[int, Candidate]]] = {}
    for line in lines:
        _, candidates = together.setdefault(line.query.uid, (line.query, {}))
        for candidate in line.candidates:
            candidates.setdefault(candidate.position, candidate)
    return [
        MinedQuery(query, tuple(sorted(candidates.values(), key=lambda candidate: -candidate.score)))
        for query, candidates in together.values()
    ]
