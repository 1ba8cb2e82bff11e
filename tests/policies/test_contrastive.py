"""Tests of training rows: what counts as good and bad, and what may stand in one batch."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.contrastive import TrainingQuery, plan_batches, split_candidates
from policies.mined import Candidate, MinedQuery
from selector.data.pool import Pool
from selector.testing import planted_examples, planted_pool
from selector.types import Example


def mined(*scores: float) -> MinedQuery:
    candidates = tuple(Candidate(number, str(number), score) for number, score in enumerate(scores))
    return MinedQuery(planted_examples(1)[0], candidates)


@pytest.mark.parametrize(
    ("scores", "positives", "negatives"),
    [
        ((-0.1, -0.2, -0.3, -0.4, -0.5, -0.6), (0, 1), (4, 5)),
        ((-0.1, -0.2, -0.3), (0,), (2,)),
        ((-0.1, -0.5, -0.5, -0.5), (0,), (2, 3)),
        ((-0.1, -0.1, -0.1, -0.9), (0, 1), (3,)),
        ((-0.1, -0.1, -0.9, -0.9), (0, 1), (2, 3)),
        ((-0.1, -0.1, -0.1), None, None),
        ((-0.1,), None, None),
        ((), None, None),
    ],
)
def test_the_top_is_good_and_the_bottom_is_bad(
    scores: tuple[float, ...], positives: tuple[int, ...] | None, negatives: tuple[int, ...] | None
) -> None:
    """Guards against a candidate that is good and bad at once, or bad though it scored like a good one."""
    split = split_candidates(mined(*scores), positives=2, negatives=2)
    if positives is None:
        assert split is None
    else:
        assert split is not None
        assert (split.positives, split.negatives) == (positives, negatives)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), epochs=st.integers(1, 3), batch_size=st.integers(2, 8), width=st.integers(1, 4))
def test_no_batch_holds_a_false_negative(seed: int, epochs: int, batch_size: int, width: int) -> None:
    """Guards against pushing a query from a demonstration that the language model found good, or from itself."""
    examples = planted_examples(16, seed=seed)
    pool = Pool([*examples, Example("twin", {"text": examples[3].fields["text"].upper()}, "rotten")])
    queries = []
    for number, example in enumerate(pool):
        others = [(number + step) % 16 for step in range(1, 16)]
        queries.append(TrainingQuery(example, tuple(others[:width]), tuple(others[-width:])))
    by_uid = {query.query.uid: query for query in queries}
    batches = plan_batches(queries, pool, epochs=epochs, batch_size=batch_size, seed=seed)
    assert Counter(row.query.uid for batch in batches for row in batch) == dict.fromkeys(by_uid, epochs)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        for row in batch:
            query = by_uid[row.query.uid]
            assert row.positive in query.positives
            assert row.negative in query.negatives
            shown = {at for other in batch if other is not row for at in (other.positive, other.negative)}
            assert not shown & pool.duplicates_of(query.query)
            assert not any(shown & pool.duplicates_of(pool[position]) for position in query.positives)


def test_batches_are_filled_where_nothing_forbids_it() -> None:
    """Guards against small batches, which would leave few in-batch negatives."""
    pool = planted_pool(120)
    queries = [TrainingQuery(pool[at], (at + 40,), (at + 80,)) for at in range(40)]
    batches = plan_batches(queries, pool, epochs=1, batch_size=8, seed=0)
    assert [len(batch) for batch in batches] == [8] * 5


def test_the_seed_decides_rows_and_batches() -> None:
    """Guards against a draw from a global generator."""
    pool = planted_pool(24)
    queries = [TrainingQuery(pool[at], (at + 8, at + 9), (at + 16, at + 17)) for at in range(6)]
    plans = [plan_batches(queries, pool, epochs=2, batch_size=4, seed=seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
