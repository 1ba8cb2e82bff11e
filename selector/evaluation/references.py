"""LM-free reference rows: what the labels and embeddings alone can do.

A selector is worth its language model only where it beats these, so every comparison shows them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from selector.data.pool import Pool
from selector.errors import TooFewExamplesError, UnknownNameError
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder
from selector.strategies.dense import NearestSelector
from selector.types import Query, Selection

REFERENCES: Final = ("label-vote", "logreg", "majority")


def vote_of(selection: Selection, pool: Pool) -> str:
    """Lets the labels of the chosen demonstrations vote.

    Args:
        selection: The demonstrations, at least one.
        pool: The pool.

    Returns:
        The most frequent label; of equally frequent ones that with the larger sum of scores, then the first by name.

    Raises:
        TooFewExamplesError: When there is no demonstration.
    """
    if not selection.indices:
        raise TooFewExamplesError(available=0, wanted=1)
    votes: defaultdict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for index, score in zip(selection.indices, selection.scores, strict=True):
        count, total = votes[str(pool[index].label)]
        votes[str(pool[index].label)] = (count + 1, total + score)
    return min(votes, key=lambda label: (-votes[label][0], -votes[label][1], label))


def label_vote(pool: Pool, encoder: TextEncoder, queries: Sequence[Query], k: int) -> list[str]:
    """Answers with the vote of the k nearest examples.

    Args:
        pool: The pool.
        encoder: Embeds inputs.
        queries: N queries.
        k: Voters.

    Returns:
        N labels.
    """
    selections = NearestSelector(pool, encoder).select(queries, max(k, 1))
    return [vote_of(selection, pool) for selection in selections]


def logistic_regression(pool: Pool, encoder: TextEncoder, queries: Sequence[Query]) -> list[str]:
    """Answers with a logistic regression on the embeddings of the pool (scikit-learn, its defaults).

    Args:
        pool: The pool.
        encoder: Embeds inputs.
        queries: N queries.

    Returns:
        N labels.

    Raises:
        TooFewExamplesError: When all members of the pool duplicate queries, which are not learned from.
    """
    from sklearn.linear_model import LogisticRegression

    hidden = frozenset().union(*(pool.duplicates_of(query) for query in queries))
    examples = [example for at, example in enumerate(pool) if at not in hidden]
    if not examples:
        raise TooFewExamplesError(available=0, wanted=1)
    labels = [str(example.label) for example in examples]
    if len(set(labels)) < 2 or not queries:
        return [labels[0]] * len(queries)
    embedded = encoder.encode([input_text(example) for example in examples])
    fitted = LogisticRegression(max_iter=1000).fit(embedded, labels)
    return [str(label) for label in fitted.predict(encoder.encode([input_text(query) for query in queries]))]


def majority(pool: Pool, queries: Sequence[Query]) -> list[str]:
    """Answers with the most frequent label of the pool.

    Args:
        pool: The pool.
        queries: N queries.

    Returns:
        N times that label; of equally frequent ones the first by name.
    """
    counts = Counter(str(example.label) for example in pool)
    return [min(counts, key=lambda label: (-counts[label], label))] * len(queries)


def reference_answers(
    name: str, *, pool: Pool, encoder: TextEncoder, queries: Sequence[Query], shots: int
) -> list[str]:
    """Answers by a reference's name.

    Args:
        name: One of `REFERENCES`.
        pool: The pool.
        encoder: Embeds inputs.
        queries: N queries.
        shots: Voters of the label vote.

    Returns:
        N labels.

    Raises:
        UnknownNameError: When there is none of that name.
        OwnChoicesError: When examples have choices of their own: what others chose from says nothing then.
    """
    pool.require_shared_labels(f"the reference {name}")
    if name == "label-vote":
        return label_vote(pool, encoder, queries, shots)
    if name == "logreg":
        return logistic_regression(pool, encoder, queries)
    if name == "majority":
        return majority(pool, queries)
    raise UnknownNameError("reference", name, known=REFERENCES)
