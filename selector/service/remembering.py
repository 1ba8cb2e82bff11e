"""When a service that never ends has to forget: what encoders and orderers remember grows with every query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import SentenceEncoder
from selector.types import Example, Query

MOST_REMEMBERED: Final = 10_000  # queries
MOST_CHARACTERS: Final = 10_000_000  # of their texts, which may be 20,000 each


class Remembered:
    """Counts the queries that were answered since something was last forgotten."""

    def __init__(self) -> None:
        self._queries = self._characters = 0

    def too_much(self, queries: Sequence[Query], *, pool_size: int) -> bool:
        """Counts queries.

        Args:
            queries: Those that were just answered.
            pool_size: Going through the pool to keep it must cost less than the queries did.

        Returns:
            Whether it is time to forget; counting starts again then.
        """
        self._queries += len(queries)
        self._characters += sum(len(input_text(query)) for query in queries)
        if self._queries < max(MOST_REMEMBERED, pool_size) and self._characters < MOST_CHARACTERS:
            return False
        self._queries = self._characters = 0
        return True


def forget_queries(encoders: Iterable[object], pool: Iterable[Example]) -> None:
    """Lets encoders forget all texts but those of a pool.

    Args:
        encoders: Any; those that remember nothing are passed over.
        pool: The pool.
    """
    kept = {form(example) for example in pool for form in (input_text, labelled_text)}
    for encoder in encoders:
        if isinstance(encoder, SentenceEncoder):
            encoder.forget_all_but(kept)
            encoder.for_queries().forget_all_but(kept)
