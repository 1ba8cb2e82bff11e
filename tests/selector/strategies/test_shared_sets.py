"""Tests of the selectors that show one set to every query, on problems where the right set is known."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import TooFewExamplesError, UnknownLabelError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.prompting.template import PromptTemplate
from selector.strategies.clustered import KMeansSelector
from selector.strategies.fixed import FixedSelector
from selector.strategies.influence import InfluenceSelector, influences, random_partitions
from selector.strategies.judging import SETS_PER_CALL, SetJudge
from selector.strategies.searched import GreedySelector
from selector.strategies.uncertain import MaxEntropySelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection

STRANGER = Example("stranger", {"text": "zzz qqq"})


def engine(pool: Pool, **options: Any) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool, **options)


class SpoiltModel(ToyLanguageModel):
    """Is right about every "fresh" query until a demonstration says "poison"; the more say "cure", the surer it is."""

    def logprobs(self, prompts: Any, completions: Any) -> list[CompletionScore]:
        self._usage = self._usage.also(calls=len(prompts))
        return [self._answer(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    @staticmethod
    def _answer(prompt: str, completion: str) -> CompletionScore:
        shown = prompt.rpartition("\n\n")[0]
        favours = -3.0 if "poison" in shown else 1.0 + shown.count("cure")
        return CompletionScore(float(favours) if completion == " fresh" else 0.0, 1, 10)


def spoilt_pool(size: int = 12, *, poison: int = 5) -> Pool:
    """Example 8 is the cure."""
    extra = {poison: " poison", 8: " cure"}
    return Pool(Example(f"p{at}", {"text": f"text {at}{extra.get(at, '')}"}, "fresh") for at in range(size))


class NumberedModel(ToyLanguageModel):
    """Is the surer of a query the further its number in the text is from 6."""

    def logprobs(self, prompts: Any, completions: Any) -> list[CompletionScore]:
        self._usage = self._usage.also(calls=len(prompts))
        sure = [abs(int(prompt.rpartition("text ")[2].split("\n")[0]) - 6) for prompt in prompts]
        return [
            CompletionScore(float(by) if completion == " fresh" else 0.0, 1, 10)
            for by, completion in zip(sure, completions, strict=True)
        ]


FRESH = [Example(f"dev{at}", {"text": f"query {at}"}, "fresh") for at in range(3)]


def spoilt_engine(**options: int) -> InferenceEngine:
    return InferenceEngine(SpoiltModel(), planted_template(), spoilt_pool(**options))


class Corners(ToyEncoder):
    """Puts a text into the corner that its first word names, a little off by its second."""

    def encode(self, texts: Any) -> Any:
        rows = np.zeros((len(texts), 4), dtype=np.float32)
        for number, text in enumerate(texts):
            corner, off = [*text.split(), "3", "0"][:2]
            rows[number, int(corner) % 4] = 1.0
            rows[number, 3] += float(off) / 100
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_kmeans_shows_the_middle_of_each_cluster_the_largest_last() -> None:
    """Guards the representatives: two of one cluster, or a member from its edge, would stand for nobody."""
    members = [(corner, off) for corner, size in ((0, 3), (1, 9), (2, 5)) for off in range(-(size // 2), size // 2 + 1)]
    pool = Pool(Example(f"{at}", {"text": f"{corner} {off}"}, "a") for at, (corner, off) in enumerate(members))
    middles = [members.index((corner, 0)) for corner in (0, 2, 1)]  # by the size of their clusters
    for seed in range(5):
        [selection] = KMeansSelector(pool, Corners(), seed=seed).select([Example("q", {"text": "3 1"})], 3)
        assert list(selection.indices) == middles
        assert selection.scores == pytest.approx((3 / 17, 5 / 17, 9 / 17))


def test_kmeans_fills_up_where_embeddings_are_the_same() -> None:
    """Guards against empty clusters, which scikit-learn warns of, and against short sets."""
    pool = Pool(Example(f"{at}", {"text": f"{at % 2} 0"}, "a") for at in range(7))
    [selection] = KMeansSelector(pool, Corners()).select([Example("q", {"text": "3 1"})], 5)
    assert len(set(selection.indices)) == 5
    assert {at % 2 for at in selection.indices[-2:]} == {0, 1}


def test_fixed_demonstrations_stand_as_named() -> None:
    """Guards order, shots below the names, and what stands in for a query that is one of them."""
    pool = planted_pool(8)
    selector = FixedSelector(pool, ["train-6", "train-1", "train-3"])
    assert [selector.select([STRANGER], k)[0].indices for k in (1, 2, 3)] == [(6,), (6, 1), (6, 1, 3)]
    assert selector.select([pool[1]], 2)[0].indices == (6, 3)
    assert selector.select([pool[1]], 3)[0].indices == (6, 0, 3)
    with pytest.raises(TooFewExamplesError, match="fixed") as caught:
        selector.select([STRANGER], 4)
    assert (caught.value.available, caught.value.wanted) == (3, 4)
    for uids, found in ((["train-6", "nobody"], "nobody"), (["train-6", "train-6"], "train-6"), ([], r"\[\]")):
        with pytest.raises(UsageError, match=found):
            FixedSelector(pool, uids)


def test_max_entropy_shows_what_the_model_is_least_sure_of() -> None:
    """Guards the sign, and that gold labels are not looked at: the most uncertain example stands last."""
    numbers = (3, 6, 1, 7, 12, 9)
    pools = [Pool(Example(f"{at}", {"text": f"text {at}"}, label) for at in numbers) for label in ("fresh", "rotten")]
    for pool in pools:
        [selection] = MaxEntropySelector(InferenceEngine(NumberedModel(), planted_template(), pool)).select(
            [STRANGER], 3
        )
        assert [numbers[index] for index in selection.indices] == [3, 7, 6]
        assert selection.scores[-1] == pytest.approx(np.log(2))
        assert list(selection.scores) == sorted(selection.scores)


def test_a_duplicate_of_the_query_never_stands_in_for_another_one() -> None:
    """Guards leave-one-out where the next of the ranking, or the first of the pool, duplicates the query too."""
    texts = ["other", "dull plot", "Dull plot!", "warm cast", "warm music"]
    pool = Pool(Example(f"{at}", {"text": text}, "rotten") for at, text in enumerate(texts))
    query = Example("q", {"text": "DULL plot"})
    assert FixedSelector(pool, ["3", "1", "2", "4"]).select([query], 2)[0].indices == (3, 4)
    assert FixedSelector(pool, ["3", "1"]).select([query], 2)[0].indices == (3, 0)
    behind = Pool([*list(pool)[1:], pool[0]])
    assert FixedSelector(behind, ["3", "1"]).select([query], 2)[0].indices == (2, 3)


def test_max_entropy_asks_the_pool_once_or_behind_what_was_picked() -> None:
    """Guards the cost, and the published variant, in which the second pick depends on the first."""
    pool = planted_pool(10)
    once, again = engine(pool), engine(pool)
    selector = MaxEntropySelector(once)
    selector.select([*planted_examples(5, prefix="q"), pool[0]], 2)
    selector.select([STRANGER], 3)
    assert once.lm.usage.calls == 10 * 2  # both labels of every member
    sequential = MaxEntropySelector(again, sequential=True)
    [selection] = sequential.select([STRANGER], 2)
    assert again.lm.usage.calls == (10 + 9) * 2
    first, second = selection.indices
    assert first == next(iter(selector.uncertainty()))
    assert second == next(iter(sequential.uncertainty([first])))


def test_greedy_search_takes_the_best_step_each_time() -> None:
    """Guards the search against its definition, and the poison that lowers dev accuracy."""
    judge = spoilt_engine()
    valued = SetJudge(judge, FRESH)
    [selection] = GreedySelector(judge, FRESH).select([STRANGER], 3)
    assert selection.indices == (8, 0, 1)
    assert selection.scores == (1.0, 1.0, 1.0)
    for step in range(3):
        before, picked = selection.indices[:step], selection.indices[step]
        extended = {at: valued.values([(*before, at)])[0] for at in range(12) if at not in before}
        assert extended[picked] == max(extended.values())
    singles = valued.values([(at,) for at in range(12)])
    assert valued.values([selection.indices])[0] >= max(singles)


def test_greedy_search_is_no_worse_than_the_best_pair_reachable_from_its_first_pick() -> None:
    """Guards appending: the new demonstration stands behind those picked, and is judged there."""
    pool, dev = planted_pool(10), planted_examples(8, seed=8, prefix="dev")
    judge = engine(pool)
    [selection] = GreedySelector(judge, dev).select([STRANGER], 2)
    valued = SetJudge(judge, dev)
    reachable = valued.values([(selection.indices[0], at) for at in range(10) if at != selection.indices[0]])
    assert valued.values([selection.indices]) == [max(reachable)]


def test_influence_ranks_a_planted_harmful_example_last() -> None:
    """Guards the sign and the complement: what spoils every set it is in must come out at the bottom."""
    for k in (2, 3):
        selector = InfluenceSelector(spoilt_engine(), FRESH, rounds=8)
        ranking = selector.ranking(k)
        assert ranking[-1] == (5, -1.0)
        assert len(ranking) == 12
        [selection] = selector.select([STRANGER], k)
        assert selection.indices == tuple(position for position, _ in ranking[k - 1 :: -1])
        [without] = selector.select([spoilt_pool()[selection.indices[0]]], k)
        assert without.indices == (ranking[k][0], *selection.indices[1:])


def test_influence_on_log_probability_decides_where_all_sets_answer_alike() -> None:
    """Guards tasks that dev queries do not tell apart, where the first candidates of the pool would be shown."""
    ranking = InfluenceSelector(spoilt_engine(poison=-1), FRESH).ranking(2)
    assert ranking[0] == (8, 0.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 100), st.data())
def test_random_sets_hold_every_candidate_about_equally_often(
    count: int, rounds: int, seed: int, data: st.DataObject
) -> None:
    """Guards influences against candidates that no set holds, and against sets with a member twice."""
    size = data.draw(st.integers(1, count))
    candidates = list(range(10, 10 + count))
    sets = random_partitions(candidates, size, rounds=rounds, generator=np.random.default_rng(seed))
    assert all(len(set(one)) == len(one) == size for one in sets)
    often = [sum(at in one for one in sets) for at in candidates]
    assert min(often) >= rounds
    assert max(often) <= 2 * rounds


def test_influence_is_the_difference_of_means() -> None:
    """Guards the formula on all pairs of four, where a sum of parts gives back its parts up to a constant."""
    parts = np.array([0.0, 1.0, 2.0, 4.0])
    pairs = list(combinations(range(4), 2))
    values = np.array([[parts[list(pair)].sum(), 7.0] for pair in pairs])
    found = influences(range(4), pairs, values)
    assert np.diff(found[:, 0]) == pytest.approx(np.diff(parts) * 4 / 3)
    assert found[:, 1] == pytest.approx(np.zeros(4))
    assert influences([0, 9], [(0, 1), (0, 2)], np.ones((2, 1))).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("calibration", ["none", "contextual", "batch"])
def test_sets_are_judged_as_one_by_one(calibration: str) -> None:
    """Guards batches of sets: batch calibration must not mix the sets, and no set may get another one's value."""
    pool, dev = planted_pool(), planted_examples(6, seed=8, prefix="dev")
    judge = engine(pool, calibration=calibration)
    sets = [(at, (at + 5) % 24) for at in range(SETS_PER_CALL + 3)]
    heard: list[int] = []
    values = SetJudge(judge, dev).values(sets, advance=heard.append)
    assert sum(heard) == len(sets)
    for one, (accuracy, gold) in zip(sets, values, strict=True):
        shown = [Selection.of(*one)] * len(dev)
        assert accuracy == judge.accuracy(dev, shown)
        assert gold == pytest.approx(judge.gold_logprobs(dev, shown).mean())
        assert SetJudge(judge, dev).value_apart(one) == (accuracy, pytest.approx(gold))
    with pytest.raises(UnknownLabelError):
        SetJudge(judge, [STRANGER]).values(sets)


def test_sets_are_judged_by_written_answers_where_targets_are_free_text() -> None:
    """Guards searches on free-text tasks, where label scores do not exist."""
    members = [Example(f"p{at}", {"text": f"say {word}"}, word) for at, word in enumerate(("one", "two", "three"))]
    template = PromptTemplate("Q: {text}\nA:{label}\n", answer_tokens=1)
    judge = InferenceEngine(ToyLanguageModel(), template, Pool(members))
    dev = [Example("d0", {"text": "tell one"}, "one"), Example("d1", {"text": "tell two"}, "two")]
    values = SetJudge(judge, dev).values([(0,), (2,)])
    assert values == [SetJudge(judge, dev).value_apart((at,)) for at in (0, 2)]
    assert values[0] > values[1]
    for selector in (GreedySelector(judge, dev), InfluenceSelector(judge, dev)):
        assert len(selector.select([STRANGER], 2)[0].indices) == 2
    with pytest.raises(UsageError, match="free text"):
        MaxEntropySelector(judge).select([STRANGER], 1)


def test_searches_need_dev_queries() -> None:
    """Guards against a set that nothing judged."""
    for kind in (GreedySelector, InfluenceSelector):
        with pytest.raises(TooFewExamplesError, match="dev"):
            kind(engine(planted_pool()), [])


def test_a_seed_decides_and_decides_alone() -> None:
    """Guards runs that are averaged over seeds: the same seed repeats itself, and another may choose otherwise."""
    pool, dev = planted_pool(60), planted_examples(4, seed=8, prefix="dev")
    for kind in (GreedySelector, InfluenceSelector):
        chosen = [kind(engine(pool), dev, candidates=6, seed=seed).select([STRANGER], 2)[0] for seed in (0, 0, 1, 2, 3)]
        assert chosen[0] == chosen[1]
        assert len({one.indices for one in chosen}) > 1
