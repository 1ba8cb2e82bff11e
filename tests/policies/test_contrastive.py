"""Tests of training rows: what counts as good and bad, and what may stand in one batch."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.contrastive import plan_batches
from policies.label_rule import LabelRule, TrainingQuery, candidates_by_label, split_by_label, split_candidates
from policies.mined import Candidate, MinedQuery
from selector.data.pool import Pool
from selector.errors import UsageError
from selector.testing import ToyEncoder, planted_examples, planted_pool
from selector.types import Example


def mined(*scores: float) -> MinedQuery:
    candidates = tuple(Candidate(number, str(number), score) for number, score in enumerate(scores))
    return MinedQuery(planted_examples(1)[0], candidates)


POOL = planted_pool(12)
QUERY = planted_examples(1)[0]


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
    split = split_candidates(mined(*scores), POOL, LabelRule(positives=2, negatives=2, same_label=False))
    if positives is None:
        assert split is None
    else:
        assert split is not None
        assert (split.positives, split.negatives) == (positives, negatives)
        assert split.scores == {at: scores[at] for at in (*positives, *negatives)}


def test_the_other_rules() -> None:
    """Guards the border of the threshold, and that "all" leaves no candidate out."""
    line = mined(-0.1, -0.6, -0.7, -0.8, -2.0)  # the threshold of 0.5 lies at -0.693
    found = split_candidates(line, POOL, LabelRule("threshold", positives=9, negatives=2, same_label=False))
    assert found is not None
    assert (found.positives, found.negatives) == ((0, 1), (3, 4))
    found = split_candidates(line, POOL, LabelRule("all", same_label=False))
    assert found is not None
    assert (found.positives, found.negatives) == ((0,), (1, 2, 3, 4))
    for wrong in ({"name": "best"}, {"positives": 0}, {"threshold": 1.0}):
        with pytest.raises(UsageError):
            LabelRule(**wrong)  # type: ignore[arg-type]


def test_a_demonstration_of_another_label_is_never_good() -> None:
    """Guards the rule of LLM-R: a lucky wrong label at the top of the list is passed over, and may be a negative."""
    others = [at for at, example in enumerate(POOL) if example.label != QUERY.label]
    same = [at for at, example in enumerate(POOL) if example.label == QUERY.label and example.uid != QUERY.uid]
    order = [others[0], same[0], same[1], others[1], others[2], others[3]]
    line = MinedQuery(QUERY, tuple(Candidate(at, POOL[at].uid, -0.1 * rank) for rank, at in enumerate(order)))
    found = split_candidates(line, POOL, LabelRule(positives=3, negatives=2))
    assert found is not None
    assert (found.positives, found.negatives) == ((same[0], same[1]), (others[2], others[3]))
    assert split_candidates(line, POOL, LabelRule(positives=1, negatives=2)) is None


def test_labels_speak_where_no_score_does() -> None:
    """Guards members of the pool that are not mined: never the query or its duplicate, nearest of the other labels."""
    rows = ToyEncoder().encode([example.fields["text"] for example in POOL])
    lines = candidates_by_label(list(POOL), POOL, rows=rows, query_rows=rows, rule=LabelRule(negatives=2), seed=1)
    for at, line in enumerate(lines):
        split = split_by_label(line)
        assert split is not None
        assert at not in split.positives
        assert {POOL[place].label for place in split.positives} == {POOL[at].label}
        assert POOL[at].label not in {POOL[place].label for place in split.negatives}
        assert set(split.scores.values()) == {0.0, -100.0}
        others = [place for place, example in enumerate(POOL) if example.label != POOL[at].label]
        nearest = sorted(others, key=lambda place: -float(rows[place] @ rows[at]))[:2]
        assert sorted(rows[list(split.negatives)] @ rows[at]) == pytest.approx(sorted(rows[nearest] @ rows[at]))
    alone = candidates_by_label(
        [POOL[0]], POOL.subset([0]), rows=rows[:1], query_rows=rows[:1], rule=LabelRule(), seed=1
    )
    assert split_by_label(alone[0]) is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), epochs=st.integers(1, 3), batch_size=st.integers(2, 8), width=st.integers(1, 4))
def test_no_batch_holds_a_false_negative(seed: int, epochs: int, batch_size: int, width: int) -> None:
    """Guards against pushing a query from a demonstration that the language model found good, or from itself."""
    examples = planted_examples(16, seed=seed)
    pool = Pool([*examples, Example("twin", {"text": examples[3].fields["text"].upper()}, "rotten")])
    queries = []
    for number, example in enumerate(pool):
        others = [(number + step) % 16 for step in range(1, 16)]
        scores = {at: -float(rank) for rank, at in enumerate(others)}
        queries.append(TrainingQuery(example, tuple(others[:width]), tuple(others[-width:]), scores))
    by_uid = {query.query.uid: query for query in queries}
    planned = plan_batches(queries, pool, epochs=epochs, batch_size=batch_size, negatives=2, seed=seed)
    assert len(planned) == epochs
    assert all(
        Counter(row.query.uid for batch in epoch for row in batch) == dict.fromkeys(by_uid, 1) for epoch in planned
    )
    batches = [batch for epoch in planned for batch in epoch]
    assert Counter(row.query.uid for batch in batches for row in batch) == dict.fromkeys(by_uid, epochs)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        for row in batch:
            query = by_uid[row.query.uid]
            assert row.positive in query.positives
            assert len(row.negatives) == 2
            assert set(row.negatives) <= set(query.negatives)
            assert row.scores == tuple(query.scores[at] for at in row.candidates)
            shown = {at for other in batch if other is not row for at in other.candidates}
            assert not shown & pool.duplicates_of(query.query)
            assert not any(shown & pool.duplicates_of(pool[position]) for position in query.positives)


def test_batches_are_filled_where_nothing_forbids_it() -> None:
    """Guards against small batches, which would leave few in-batch negatives."""
    pool = planted_pool(120)
    queries = [TrainingQuery(pool[at], (at + 40,), (at + 80,), {at + 40: 0.0, at + 80: -1.0}) for at in range(40)]
    (batches,) = plan_batches(queries, pool, epochs=1, batch_size=8, negatives=1, seed=0)
    assert [len(batch) for batch in batches] == [8] * 5


def test_the_seed_decides_rows_and_batches() -> None:
    """Guards against a draw from a global generator."""
    pool = planted_pool(24)
    queries = [
        TrainingQuery(pool[at], (at + 8, at + 9), (at + 16, at + 17), dict.fromkeys(range(24), 0.0)) for at in range(6)
    ]
    plans = [plan_batches(queries, pool, epochs=2, batch_size=4, negatives=1, seed=seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
