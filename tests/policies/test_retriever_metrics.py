"""Tests of what the labels of retrieved demonstrations say."""

from __future__ import annotations

from policies.retriever_metrics import label_votes
from selector.data.pool import Pool
from selector.testing import ToyEncoder, planted_examples


def test_the_label_vote_breaks_ties_for_the_nearest() -> None:
    """Guards a vote that depends on the order of labels."""
    pool = Pool(planted_examples(2))
    query = planted_examples(2, prefix="query")[1]
    assert label_votes(ToyEncoder(), pool, [query], voters=2) == (1.0, 0.5)
