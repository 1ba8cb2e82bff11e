"""Tests of the selectors that weigh candidates for each query, on problems where the right choice is known."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import InvalidExampleError, ServerCapabilityError, UsageError
from selector.inference.engine import CHUNK, InferenceEngine
from selector.ordering.entropy import entropy
from selector.prompting.template import PromptTemplate
from selector.strategies.balanced import BalancedSelector
from selector.strategies.conditional_entropy import ConESelector, query_logprobs
from selector.strategies.coverage import BSRSelector, greedy_cover, token_coverage
from selector.strategies.dense import NearestSelector, nearest_shortlists
from selector.strategies.description_length import MDLSelector
from selector.strategies.oracle import OracleSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection

QUERIES = planted_examples(5, seed=3, prefix="q")


class CountingModel(ToyLanguageModel):
    """Counts how often it is called."""

    rounds = 0

    def logprobs(self, prompts: Any, completions: Any) -> Any:
        self.rounds += 1
        return super().logprobs(prompts, completions)


def engine(pool: Pool) -> InferenceEngine:
    return InferenceEngine(CountingModel(), planted_template(), pool)


def nearest(pool: Pool) -> NearestSelector:
    return NearestSelector(pool, ToyEncoder())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=14), st.integers(0, 50), st.data())
def test_balanced_sets_hold_labels_equally_often(labels: list[str], seed: int, data: st.DataObject) -> None:
    """Guards the quota: a label may only fall behind another one where its examples have run out."""
    pool = Pool(Example(f"{at}", {"text": f"text {at}"}, label) for at, label in enumerate(labels))
    k = data.draw(st.integers(0, len(labels)))
    [selection] = BalancedSelector(pool, seed=seed).select([Example("q", {"text": "new"})], k)
    shown = Counter(str(pool[index].label) for index in selection.indices)
    for label, available in Counter(labels).items():
        most = max(shown.values(), default=0)
        assert shown[label] >= min(available, most - 1)


def test_balanced_draws_differ_between_queries_seeds_and_places() -> None:
    """Guards against labels that always stand in the same order, of which a language model learns the last."""
    pool = planted_pool()
    queries = planted_examples(40, seed=3, prefix="q")
    drawn = [one.indices for one in BalancedSelector(pool, seed=1).select(queries, 3)]
    assert len(set(drawn)) > 30
    assert drawn != [one.indices for one in BalancedSelector(pool, seed=2).select(queries, 3)]
    fours = BalancedSelector(pool, seed=1).select(queries, 4)
    assert len({tuple(pool[at].label for at in one.indices) for one in fours}) == 6  # all ways to arrange two and two
    last = Counter(pool[indices[-1]].label for indices in drawn)
    assert min(last.values()) > 8
    assert len({tuple(sorted(Counter(pool[at].label for at in indices).items())) for indices in drawn}) == 2


def test_coverage_is_that_of_the_nearest_token() -> None:
    """Guards BERTScore-Recall by hand: each query token counts once, whatever else the candidate holds."""
    one, two, three = np.eye(3, dtype=np.float32)
    query = np.stack([one, two])
    found = token_coverage(query, [np.stack([three, one, one]), np.stack([(one + two) / np.sqrt(2)]), np.stack([two])])
    assert found == pytest.approx(np.array([[1, 0.5**0.5, 0], [0, 0.5**0.5, 1]]))


def test_a_set_is_chosen_whose_members_cover_what_others_leave() -> None:
    """Guards what the set is for: two candidates alike cover no more than one, however similar both are."""
    texts = ["alpha beta gamma", "gamma beta alpha yes", "delta epsilon no", "nothing shared here"]
    pool = Pool(Example(str(at), {"text": text}, "fresh") for at, text in enumerate(texts))
    query = Example("q", {"text": "alpha beta gamma delta epsilon"})
    assert set(nearest(pool).select([query], 2)[0].indices) == {0, 1}
    [selection] = BSRSelector(pool, ToyEncoder()).select([query], 2)
    assert selection.indices[0] == 2
    assert selection.indices[1] in {0, 1}
    assert selection.scores[1] > selection.scores[0]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 7), st.integers(0, 1000), st.data())
def test_greedy_cover_equals_its_definition(tokens: int, size: int, seed: int, data: st.DataObject) -> None:
    """Guards the incremental maximum and the new cover that is begun where nothing is gained."""
    coverage = np.random.default_rng(seed).integers(0, 3, (tokens, size)).astype(float)
    k = data.draw(st.integers(0, size))
    picked: list[int] = []
    cover: list[int] = []
    while len(picked) < k:
        left = [at for at in range(size) if at not in picked]
        value = {at: coverage[:, [*cover, at]].max(axis=1).sum() for at in left}
        best = max(left, key=lambda at: value[at])
        if cover and value[best] <= coverage[:, cover].max(axis=1).sum():
            cover = []
            continue
        picked.append(best)
        cover.append(best)
    assert greedy_cover(coverage, k) == picked


def test_coverage_needs_embeddings_of_tokens() -> None:
    """Guards against an AttributeError long after the method was named."""

    class WholeTexts:
        fingerprint, width = "whole", 32
        encode = ToyEncoder().encode

    with pytest.raises(UsageError, match="token_embeddings"):
        BSRSelector(planted_pool(), WholeTexts())


def test_cone_takes_those_behind_which_the_query_is_least_surprising() -> None:
    """Guards the sign, the shortlist and the one call: one-shot log-probabilities of the query's text, best last."""
    pool = planted_pool()
    judge = engine(pool)
    selections = ConESelector(judge, nearest(pool), shortlist=7).select(QUERIES, 3)
    assert judge.lm.rounds == 1
    for query, near, chosen in zip(QUERIES, nearest(pool).select(QUERIES, 7), selections, strict=True):
        alone = {at: query_logprobs(judge, [query], [Selection.of(at)])[0] for at in near.indices}
        assert set(chosen.indices) <= set(near.indices)
        assert chosen.scores == pytest.approx(sorted(alone.values())[-3:])
        assert chosen.scores == pytest.approx([alone[at] for at in chosen.indices])


def test_cone_reads_the_text_before_the_label_and_not_the_label() -> None:
    """Guards what is scored: the whole text of the query behind one demonstration, the same whatever its label."""
    pool = Pool([Example("a", {"text": "warm cast"}, "fresh"), Example("b", {"text": "dull plot"}, "rotten")])
    judge = engine(pool)
    query = Example("q", {"text": "warm music"}, "rotten")
    context = "Review: warm cast\nSentiment: fresh\n\n"
    [expected] = judge.lm.logprobs([context], ["Review: warm music\nSentiment:"])
    unlabelled = Example("q", {"text": "warm music"})
    values = query_logprobs(judge, [query, unlabelled], [Selection.of(0)] * 2)
    assert list(values) == [expected.logprob] * 2


def test_cone_names_what_it_cannot_work_with() -> None:
    """Guards against empty completions, and against bounds that are compared with log-probabilities."""
    pool = planted_pool()
    backwards = PromptTemplate("{label}\n{text}", {"fresh": "fresh", "rotten": "rotten"})
    judge = InferenceEngine(ToyLanguageModel(), backwards, pool, scoring="channel")
    with pytest.raises(UsageError, match="before the label"):
        ConESelector(judge, nearest(pool)).select(QUERIES, 1)
    inexact = engine(pool)
    inexact.lm.exact = False
    with pytest.raises(ServerCapabilityError, match="conditional entropy"):
        ConESelector(inexact, nearest(pool))


def test_mdl_shows_the_set_of_lowest_entropy_of_those_drawn() -> None:
    """Guards the sign, which is the opposite of LocalE's, and that the nearest in order are always compared."""
    pool = planted_pool()
    judge = engine(pool)
    selector = MDLSelector(judge, nearest(pool), shortlist=8, sets=6, seed=4)
    options = selector.candidate_sets(QUERIES, 3)
    selections = selector.select(QUERIES, 3)
    assert judge.lm.rounds == 1
    for query, near, own, chosen in zip(QUERIES, nearest(pool).select(QUERIES, 8), options, selections, strict=True):
        assert len(own) == 6
        assert own[0].indices == near.indices[-3:]
        assert all(set(one.indices) <= set(near.indices) for one in own)
        entropies = entropy(judge.probabilities([query] * 6, own))
        assert chosen.indices in {one.indices for one in own}
        assert chosen.scores == pytest.approx((-min(entropies),) * 3)
    assert selector.candidate_sets(QUERIES, 3) != MDLSelector(judge, nearest(pool), seed=5).candidate_sets(QUERIES, 3)


def test_the_oracle_chooses_what_scores_highest() -> None:
    """Guards the upper bound: no candidate left out may put the gold label higher than one that is shown."""
    pool = planted_pool()
    judge = engine(pool)
    selections = OracleSelector(judge, nearest(pool), shortlist=12).select(QUERIES, 2)
    assert judge.lm.rounds == 1
    for query, near, chosen in zip(QUERIES, nearest(pool).select(QUERIES, 12), selections, strict=True):
        alone = {at: judge.gold_logprobs([query], [Selection.of(at)])[0] for at in near.indices}
        assert chosen.scores == pytest.approx(sorted(alone.values())[-2:], abs=1e-8)
        assert chosen.scores == pytest.approx([alone[at] for at in chosen.indices], abs=1e-8)


def test_the_oracle_bounds_the_nearest_and_needs_labels() -> None:
    """Guards its use as a bound, and against a method that quietly answers unlabelled queries by something else."""
    pool, queries = planted_pool(40), planted_examples(30, seed=3, prefix="q")
    judge = engine(pool)
    oracle = OracleSelector(judge, nearest(pool), shortlist=40)
    assert judge.accuracy(queries, oracle.select(queries, 1)) >= judge.accuracy(
        queries, nearest(pool).select(queries, 1)
    )
    assert "UPPER BOUND" in str(OracleSelector.__doc__)
    with pytest.raises(InvalidExampleError, match="upper bound"):
        oracle.select([QUERIES[0], Example("blank", {"text": "dull plot"})], 1)


def test_many_queries_take_few_calls() -> None:
    """Guards against a call for each query, and against answers that slip from one query to the next."""
    pool, queries = planted_pool(), planted_examples(CHUNK + 3, seed=3, prefix="q")
    for build in (
        lambda judge: OracleSelector(judge, nearest(pool), shortlist=4),
        lambda judge: ConESelector(judge, nearest(pool), shortlist=4),
        lambda judge: MDLSelector(judge, nearest(pool), shortlist=4, sets=2),
    ):
        together = engine(pool)
        selections = build(together).select(queries, 2)
        assert together.lm.rounds == 2
        assert selections[-1:] == build(engine(pool)).select(queries[-1:], 2)


def test_shortlists_leave_out_the_query_and_never_fall_short() -> None:
    """Guards sizes at the edge of the pool, where queries leave different numbers of candidates."""
    pool = planted_pool(6)
    queries = [pool[0], *QUERIES]
    for k, size in combinations(range(1, 6), 2):
        for query, near in zip(queries, nearest_shortlists(nearest(pool), queries, k, size=size), strict=True):
            assert len(near.indices) == size
            assert query.uid not in {pool[index].uid for index in near.indices}
    sizes = [len(near.indices) for near in nearest_shortlists(nearest(pool), queries, 2, size=50)]
    assert sizes == [5, 6, 6, 6, 6, 6]
