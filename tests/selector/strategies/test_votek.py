"""Tests of vote-k: the votes by their definition, and annotation on pools where the right choice is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.strategies.dense import NearestSelector
from selector.strategies.votek import Ballot, FastVoteKSelector, VoteKSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example


class Recorded(InferenceEngine):
    """Is as sure of an example as its number is high, and remembers what stood before it."""

    asked: dict[str, tuple[int, ...]]

    def probabilities(self, queries: Any, selections: Any) -> Any:
        self.asked = getattr(self, "asked", {})
        self.asked |= {query.uid: one.indices for query, one in zip(queries, selections, strict=True)}
        sure = np.array([0.5 + int(query.uid.rpartition("-")[2]) / 1000 for query in queries])
        return np.stack([sure, 1 - sure], axis=1)


def recorded(pool: Pool) -> Recorded:
    return Recorded(ToyLanguageModel(), planted_template(), pool)


def rows(count: int, *, seed: int) -> Any:
    drawn = np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 14), st.integers(0, 500), st.data())
def test_votes_follow_their_definition(count: int, seed: int, data: st.DataObject) -> None:
    """Guards the direction of the votes and the discount, which the published code loses after a reload."""
    neighbours = data.draw(st.integers(1, count - 1))
    drawn = rows(count, seed=seed)
    similarity = drawn @ drawn.T - 9 * np.eye(count)
    nearest = [set(np.argsort(-similarity[at])[:neighbours].tolist()) for at in range(count)]
    ballot = Ballot(drawn, neighbours=neighbours)
    picked: list[int] = []
    for _ in range(count):
        votes = {
            at: sum(
                10.0 ** -len(nearest[voter] & set(picked))
                for voter in range(count)
                if at in nearest[voter] and voter not in picked
            )
            for at in range(count)
            if at not in picked
        }
        scores = ballot.scores()
        assert {at: scores[at] for at in votes} == pytest.approx(votes)
        picked.append(ballot.pick())
        assert votes[picked[-1]] == pytest.approx(max(votes.values()))
    assert sorted(picked) == list(range(count))


def test_fast_votek_annotates_one_of_each_planted_cluster() -> None:
    """Guards the discount: without it the largest cluster would take all places."""
    words = ("alpha", "beta", "gamma")
    texts = [f"{word} {word} {word} {at}" for word, size in zip(words, (12, 8, 6), strict=True) for at in range(size)]
    pool = Pool(Example(f"t-{at}", {"text": text}, "fresh") for at, text in enumerate(texts))
    selector = FastVoteKSelector(pool, ToyEncoder(), budget=3, neighbours=4)
    assert sorted(texts[at].split()[0] for at in selector.annotated(3)) == sorted(words)
    assert selector.annotated(2) == selector.annotated(3)[:2]
    for word in words:
        [selection] = selector.select([Example("q", {"text": f"{word} new"})], 1)
        assert texts[selection.indices[0]].startswith(word)


def test_demonstrations_are_the_nearest_annotated_ones() -> None:
    """Guards retrieval from what is annotated alone, most similar last, and pools within the budget."""
    pool, queries = planted_pool(), planted_examples(6, seed=3, prefix="q")
    selector = FastVoteKSelector(pool, ToyEncoder(), budget=8)
    annotated = selector.annotated(8)
    ranked = NearestSelector(pool, ToyEncoder()).select(queries, len(pool))
    for near, chosen in zip(ranked, selector.select(queries, 3), strict=True):
        assert chosen.indices == tuple(at for at in near.indices if at in annotated)[-3:]
    everything = FastVoteKSelector(pool, ToyEncoder()).select(queries, 4)
    near_four = NearestSelector(pool, ToyEncoder()).select(queries, 4)
    assert [one.indices for one in everything] == [one.indices for one in near_four]


def test_votek_picks_one_of_each_level_of_confidence() -> None:
    """Guards the levels: ascending confidence, equal widths, and the most confident tenth never picked."""
    pool = planted_pool(40)
    judge = recorded(pool)
    annotated = VoteKSelector(judge, ToyEncoder(), budget=10, neighbours=5).annotated(10)
    first = annotated[0]
    assert first == FastVoteKSelector(pool, ToyEncoder(), neighbours=5).annotated(1)[0]
    unsure_first = [at for at in range(40) if at != first]
    width = int(0.9 * 39 / 9)
    for level, picked in enumerate(annotated[1:]):
        assert picked in unsure_first[level * width : (level + 1) * width]
    assert len(set(annotated)) == 10
    assert set(judge.asked) == {pool[at].uid for at in unsure_first}
    assert set(judge.asked.values()) == {(first,)}


def test_votek_never_asks_an_example_behind_its_own_duplicate() -> None:
    """Guards confidence against the answer in the prompt, and pools where all places are picked by votes."""
    texts = ["Dull plot", "dull plot!", "warm cast", "warm music"]
    pool = Pool(Example(f"t-{at}", {"text": text}, "fresh") for at, text in enumerate(texts))
    judge = recorded(pool)
    annotated = VoteKSelector(judge, ToyEncoder(), budget=4, neighbours=1).annotated(4)
    assert sorted(annotated) == [0, 1, 2, 3]
    first = annotated[0]
    for query in pool:
        if query.uid in judge.asked:
            assert judge.asked[query.uid] == (() if first in pool.duplicates_of(query) else (first,))
    alone = Pool([Example("t-0", {"text": "dull"}, "fresh")])
    for selector in (FastVoteKSelector(alone, ToyEncoder()), VoteKSelector(recorded(alone), ToyEncoder())):
        assert selector.select([Example("q", {"text": "new"})], 1)[0].indices == (0,)


def test_a_large_pool_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards time and memory: the graph of a million examples is never made."""
    monkeypatch.setattr("selector.strategies.votek.MOST_VOTERS", 12)
    pool = planted_pool(60)
    selector = FastVoteKSelector(pool, ToyEncoder(), budget=6)
    assert len(selector._voters) == 12
    assert set(selector.annotated(6)) <= set(selector._voters)
    assert len(selector.select([Example("q", {"text": "new"})], 20)[0].indices) == 20
