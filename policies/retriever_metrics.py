"""How good a retriever is, without a language model: what its neighbours' labels say, and how it ranks mined pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from policies.label_rule import TrainingQuery
from selector.data.pool import Pool
from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import TextEncoder, query_encoder_of
from selector.strategies.dense import NearestSelector
from selector.types import Example

VOTERS = 8  # retrieved demonstrations whose labels vote for a dev query


class LabelVotes(NamedTuple):
    """What the labels of retrieved demonstrations say of their queries.

    Attributes:
        accuracy: The share of queries whose most frequent label is the right one.
        share: The share of demonstrations that bear their query's label. It is finer than the vote, and nearer to what
            a language model answers: one that reads eight alike labels follows them more often than five of eight.
    """

    accuracy: float
    share: float


def label_votes(
    encoder: TextEncoder,
    pool: Pool,
    queries: Sequence[Example],
    *,
    labelled: bool = True,
    voters: int = VOTERS,
) -> LabelVotes:
    """Measures how often the labels of the nearest demonstrations are the gold label, singly and by vote.

    Args:
        encoder: Embeds demonstrations.
        pool: The pool.
        queries: Labelled queries; at least one.
        labelled: Whether demonstrations are embedded with their label.
        voters: Demonstrations that vote; fewer in a small pool. A tie goes to the nearest one's label.

    Returns:
        Shares between 0 and 1.
    """
    available = len(pool) - max(len(pool.duplicates_of(query)) for query in queries)
    selector = NearestSelector(pool, encoder, labelled_demonstrations=labelled)
    hits, alike, retrieved = 0, 0, 0
    for query, selection in zip(queries, selector.select(queries, min(voters, available)), strict=True):
        # Counter keeps the order of first votes, and the best demonstration stands last.
        votes = Counter(pool[position].label for position in reversed(selection.indices))
        hits += bool(votes) and votes.most_common(1)[0][0] == query.label
        alike += votes[query.label]
        retrieved += len(selection.indices)
    return LabelVotes(hits / len(queries), alike / max(1, retrieved))


def pair_accuracy(
    encoder: TextEncoder,
    pool: Pool,
    queries: Sequence[TrainingQuery],
    *,
    labelled: bool = True,
) -> float:
    """Measures how often a positive is nearer to its query than a negative.

    Args:
        encoder: Embeds demonstrations.
        pool: What positions refer to.
        queries: The training queries; at least one.
        labelled: Whether demonstrations are embedded with their label.

    Returns:
        The mean over queries of the share of (positive, negative) pairs ranked rightly.
    """
    form = labelled_text if labelled else input_text
    anchors = query_encoder_of(encoder).encode([input_text(query.query) for query in queries])  # (N, D)
    used = sorted({position for query in queries for position in (*query.positives, *query.negatives)})
    rows = dict(zip(used, encoder.encode([form(pool[position]) for position in used]), strict=True))
    shares = []
    for query, anchor in zip(queries, anchors, strict=True):
        good = np.stack([rows[position] for position in query.positives]) @ anchor
        bad = np.stack([rows[position] for position in query.negatives]) @ anchor
        shares.append(float((good[:, None] > bad[None, :]).mean()))
    return float(np.mean(shares))


def label_agreement(queries: Sequence[TrainingQuery], pool: Pool, *, positives: bool = True) -> float:
    """Measures how often a positive bears its query's label.

    Args:
        queries: The training queries; at least one.
        pool: What positions refer to.
        positives: Whether positives are looked at; else negatives.

    Returns:
        The share between 0 and 1.
    """
    pairs = [(query.query, at) for query in queries for at in (query.positives if positives else query.negatives)]
    return float(np.mean([pool[position].label == query.label for query, position in pairs]))
