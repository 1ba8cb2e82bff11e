"""BM25 over the input texts (Robertson & Zaragoza, 2009), through bm25s. Most similar last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.data.pool import Pool
from selector.prompting.embedding_text import input_text
from selector.strategies.ranking import best_last
from selector.types import Query, Selection


class BM25Selector:
    """Ranks the pool by BM25 of its inputs for the query's input.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: Pool) -> None:
        import bm25s

        self._pool = pool
        self._index = bm25s.BM25()
        self._index.index(_words([input_text(example) for example in pool]), show_progress=False)

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Ranks the pool for each query; see `Selector.select`."""
        return [self.ranked(input_text(query), self._pool, query, k) for query in queries]

    def ranked(self, text: str, pool: Pool, query: Query, k: int) -> Selection:
        """Ranks the pool for a text.

        Args:
            text: What is looked for.
            pool: Whose members may not stand in the query's prompt: those of another pool with the same order.
            query: The query that the text belongs to.
            k: How many.

        Returns:
            The selection, the best last.

        Raises:
            TooFewExamplesError: When fewer than k are left for the query.
        """
        (words,) = _words([text])
        return best_last(pool, query, self._scores(words), k)

    def _scores(self, words: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        known = [word for word in words if word in self._index.vocab_dict]
        if not known:
            return np.zeros(len(self._pool), dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)


def _words(texts: list[str]) -> list[list[str]]:
    import bm25s

    # Stop words and one-letter words stay: in short inputs they are part of the form ("what", "who", "I").
    options = {"stopwords": [], "token_pattern": r"(?u)\b\w+\b"}
    return [list(words) for words in bm25s.tokenize(texts, return_ids=False, show_progress=False, **options)]
