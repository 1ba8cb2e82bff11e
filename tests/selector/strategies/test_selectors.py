"""Tests of selectors: one suite of laws for all of them, then what is particular to each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import (
    ArtifactError,
    ArtifactMismatchError,
    TooFewExamplesError,
    UnknownNameError,
    UsageError,
)
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import write_artifact
from selector.learned.manifest import Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.strategies.balanced import BalancedSelector
from selector.strategies.base import Selector
from selector.strategies.clustered import KMeansSelector
from selector.strategies.conditional_entropy import ConESelector
from selector.strategies.coverage import BSRSelector
from selector.strategies.dense import NearestSelector
from selector.strategies.description_length import MDLSelector
from selector.strategies.determinantal import DPPSelector
from selector.strategies.determinantal_sampling import DPPSampleSelector
from selector.strategies.diverse import MMRSelector, maximal_marginal_relevance
from selector.strategies.fixed import FixedSelector
from selector.strategies.influence import InfluenceSelector
from selector.strategies.judging import SetJudge
from selector.strategies.learned import LearnedSelector
from selector.strategies.lexical import BM25Selector
from selector.strategies.named import METHODS, SEEDED_METHODS, build_selector
from selector.strategies.oracle import OracleSelector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import RetrieverCard, RetrieverSelector, read_retriever_card, write_retriever_card
from selector.strategies.searched import BestOfKSelector, GreedySelector
from selector.strategies.uncertain import MaxEntropySelector
from selector.strategies.votek import FastVoteKSelector, VoteKSelector
from selector.strategies.zero import ZeroShotSelector
from selector.testing import (
    SelectorPromises,
    ToyEncoder,
    ToyLanguageModel,
    check_selector,
    planted_examples,
    planted_pool,
    planted_template,
)
from selector.types import Example, Selection


def engine(pool: Pool) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool)


def artifact(folder: Path, pool: Pool, **changes: object) -> Path:
    """An artifact with an untrained network."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(1)
        sizes = {"width": 32, "features": len(FEATURES), "hidden": 16, "similarity_weight": 3.0, "stop_logit": -2.0}
        network = PointerNetwork(PointerNetworkConfig(**sizes))  # type: ignore[arg-type]
    settings = {
        "shots": 3,
        "shortlist_size": 6,
        "may_stop": False,
        "labelled_demonstrations": True,
        "network": sizes,
        "encoder": "toy",
        "fingerprints": {
            "pool": pool.fingerprint,
            "encoder": ToyEncoder().fingerprint,
            "template": planted_template().fingerprint,
            "language model": ToyLanguageModel().fingerprint,
        },
    }
    return write_artifact(folder, Manifest(**(settings | changes)), network)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def learned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifact(tmp_path_factory.mktemp("artifact") / "policy", planted_pool())


class GoldGiven:
    """The oracle, which refuses unlabelled queries, with a label for those."""

    def __init__(self, pool: Pool) -> None:
        self._oracle = OracleSelector(engine(pool), NearestSelector(pool, ToyEncoder()), shortlist=4)

    def select(self, queries: Sequence[Example], k: int) -> list[Selection]:
        return self._oracle.select([replace(query, label=query.label or "fresh") for query in queries], k)


DEV = planted_examples(4, seed=8, prefix="dev")

BUILDERS: dict[str, Callable[[Pool, Path], Selector]] = {
    "random": lambda pool, _: RandomSelector(pool, seed=3),
    "bm25": lambda pool, _: BM25Selector(pool),
    "nearest": lambda pool, _: NearestSelector(pool, ToyEncoder()),
    "nearest, labelled": lambda pool, _: NearestSelector(pool, ToyEncoder(), labelled_demonstrations=True),
    "mmr": lambda pool, _: MMRSelector(pool, ToyEncoder(), shortlist=4),
    "dpp": lambda pool, _: DPPSelector(NearestSelector(pool, ToyEncoder()), shortlist=4),
    "best-of-k": lambda pool, _: BestOfKSelector(engine(pool), planted_examples(4, seed=8, prefix="dev"), sets=3),
    "balanced": lambda pool, _: BalancedSelector(pool, seed=3),
    "fixed": lambda pool, _: FixedSelector(pool, [example.uid for example in reversed(pool)]),
    "kmeans": lambda pool, _: KMeansSelector(pool, ToyEncoder(), seed=1),
    "fast-votek": lambda pool, _: FastVoteKSelector(pool, ToyEncoder(), budget=5, neighbours=3),
    "votek": lambda pool, _: VoteKSelector(engine(pool), ToyEncoder(), budget=5, neighbours=3),
    "dpp-sample": lambda pool, _: DPPSampleSelector(NearestSelector(pool, ToyEncoder()), shortlist=6, seed=2),
    "bsr": lambda pool, _: BSRSelector(pool, ToyEncoder(), shortlist=6),
    "cone": lambda pool, _: ConESelector(engine(pool), NearestSelector(pool, ToyEncoder()), shortlist=4),
    "mdl": lambda pool, _: MDLSelector(engine(pool), NearestSelector(pool, ToyEncoder()), shortlist=6, sets=3),
    "max-entropy": lambda pool, _: MaxEntropySelector(engine(pool)),
    "max-entropy, sequential": lambda pool, _: MaxEntropySelector(engine(pool), sequential=True),
    "greedy": lambda pool, _: GreedySelector(engine(pool), DEV, candidates=4, seed=2),
    "influence": lambda pool, _: InfluenceSelector(engine(pool), DEV, candidates=4, rounds=2, seed=2),
    "oracle": lambda pool, _: GoldGiven(pool),
    "learned": lambda pool, folder: LearnedSelector.load(folder, pool, force=True, encoder=ToyEncoder()),
}


RANKINGS = ("bm25", "nearest", "nearest, labelled", "cone", "oracle", "votek", "fast-votek")


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_laws_of_every_selector(name: str, learned_folder: Path) -> None:
    """Guards the laws of `selector.testing` for all of ours: to the last bit, whatever the batch."""
    promises = SelectorPromises(ranked=name in RANKINGS, reads_gold_label=name == "oracle", tolerance=0.0)
    passed_over = check_selector(lambda pool: BUILDERS[name](pool, learned_folder), promises=promises)
    assert set(passed_over) == ({"the_gold_label_is_not_looked_at"} if name == "oracle" else set())


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 12), st.integers(0, 1000), st.data())
def test_a_pool_of_duplicates_is_never_shown_to_its_own_kind(size: int, seed: int, data: st.DataObject) -> None:
    """Guards leave-one-out where the nearest neighbours are all duplicates of the query."""
    texts = data.draw(
        st.lists(st.sampled_from(["Dull plot", "dull  plot!", "warm cast"]), min_size=size, max_size=size)
    )
    pool = Pool(Example(f"{seed}-{at}", {"text": text}, "fresh") for at, text in enumerate(texts))
    query = Example("q", {"text": "DULL PLOT"})
    available = sum(text == "warm cast" for text in texts)
    for selector in (RandomSelector(pool), BM25Selector(pool), NearestSelector(pool, ToyEncoder())):
        (selection,) = selector.select([query], available)
        assert {pool[index].fields["text"] for index in selection.indices} <= {"warm cast"}


def test_zero_shot_chooses_nothing() -> None:
    """Guards the zero-shot baseline against a k that someone passes to all methods."""
    assert check_selector(lambda _: ZeroShotSelector(), promises=SelectorPromises(exactly_k=False)) == {}
    assert ZeroShotSelector().select(planted_examples(2), 4)[1].indices == ()


def test_rankings_put_the_most_similar_last() -> None:
    """Guards the order convention, on which no two published code bases agree."""
    pool = planted_pool()
    query = Example("q", {"text": pool[5].fields["text"] + " again"})
    nearest = NearestSelector(pool, ToyEncoder())
    for selector in (nearest, BM25Selector(pool), MMRSelector(pool, ToyEncoder()), DPPSelector(nearest)):
        selection = selector.select([query], 4)[0]
        assert selection.indices[-1] == 5
        assert list(selection.scores) == sorted(selection.scores)


def test_bm25_ranks_by_shared_rare_words() -> None:
    """Guards the lexical index against stop-word removal and against one-letter tokens being dropped."""
    texts = ["who is the king", "what is a star", "is the x here"]
    pool = Pool(Example(str(at), {"text": text}, "a") for at, text in enumerate(texts))
    best = [BM25Selector(pool).select([Example("q", {"text": text})], 1)[0].indices for text in ("who", "a", "x")]
    assert best == [(0,), (1,), (2,)]


def test_mmr_trades_relevance_for_diversity() -> None:
    """Guards both ends of the trade-off, and the formula by hand."""
    relevance, similarity = np.array([0.9, 0.8, 0.1]), np.array([[1, 0.95, 0], [0.95, 1, 0], [0, 0, 1.0]])
    assert [at for at, _ in maximal_marginal_relevance(relevance, similarity, 2, trade_off=1.0)] == [0, 1]
    picked = maximal_marginal_relevance(relevance, similarity, 2, trade_off=0.5)
    assert picked == [(0, pytest.approx(0.45)), (2, pytest.approx(0.05))]
    with pytest.raises(UsageError, match="0 to 1"):
        MMRSelector(planted_pool(), ToyEncoder(), trade_off=1.5)


def test_best_of_k_shows_the_set_that_does_best_on_dev() -> None:
    """Guards the search: no set drawn may beat the one that is shown, and the search runs once for each k."""
    pool, dev = planted_pool(), planted_examples(8, seed=8, prefix="dev")
    judge = engine(pool)
    selector = BestOfKSelector(judge, dev, sets=6, seed=1)
    (shown,) = selector.select(planted_examples(1, seed=3, prefix="q"), 3)
    calls = judge.lm.usage.calls
    selector.select(planted_examples(5, seed=4, prefix="q"), 3)
    assert judge.lm.usage.calls == calls
    judged = SetJudge(judge, dev)
    rng = np.random.default_rng([1, 3])
    drawn = [tuple(int(at) for at in rng.choice(len(pool), 3, replace=False)) for _ in range(6)]
    assert shown.indices in drawn
    [value] = judged.values([shown.indices])
    assert value == max(judged.values(drawn))
    assert value[0] == judge.accuracy(dev, [shown] * len(dev))
    assert value[1] == pytest.approx(judge.gold_logprobs(dev, [shown] * len(dev)).mean())
    with pytest.raises(TooFewExamplesError, match="dev"):
        BestOfKSelector(judge, [])


def test_methods_are_built_by_name_or_folder(learned_folder: Path, tmp_path: Path) -> None:
    """Guards the names of the command line."""
    pool = planted_pool()
    options = {"engine": engine(pool), "encoder": ToyEncoder(), "dev": planted_examples(2, prefix="dev")}
    for name in METHODS:
        assert isinstance(build_selector(name, **options), Selector)  # type: ignore[arg-type]
    assert set(SEEDED_METHODS) <= set(METHODS)
    for name in ("fixed:train-7,train-2", "fixed: train-7 ; train-2"):
        built = build_selector(name, **options)  # type: ignore[arg-type]
        assert built.select(planted_examples(1, prefix="q"), 2)[0].indices == (7, 2)
    with pytest.raises(UnknownNameError, match="best-of-k"):
        build_selector("nearset", **options)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        build_selector(str(tmp_path), **options)  # type: ignore[arg-type]


def test_a_retriever_card_comes_back_and_damage_is_named(tmp_path: Path) -> None:
    """Guards the card between training and inference."""
    card = RetrieverCard("base", "p", "t", "l", metrics={"vote": 0.5})
    write_retriever_card(tmp_path, card)
    assert read_retriever_card(tmp_path) == card
    for damage in ("", "[]", "{}", '{"version": 1}'):
        (tmp_path / "shotsmith.json").write_text(damage)
        with pytest.raises(ArtifactError, match="train the retriever again"):
            read_retriever_card(tmp_path)
    write_retriever_card(tmp_path, RetrieverCard("base", "p", "t", "l", version=9))
    with pytest.raises(ArtifactError, match="version 9"):
        RetrieverSelector.load(tmp_path, planted_pool())


def test_a_policy_takes_another_k_and_a_changed_pool(learned_folder: Path) -> None:
    """Guards what an exported policy promises: more or fewer shots, examples added or removed."""
    pool = planted_pool()
    selector = LearnedSelector.load(learned_folder, pool, encoder=ToyEncoder())
    queries = planted_examples(4, seed=2, prefix="q")
    for k in (1, 5, 8):
        assert [len(one.indices) for one in selector.select(queries, k)] == [k] * 4
    changed = planted_pool(30, seed=5)
    with pytest.raises(ArtifactMismatchError, match="--force") as caught:
        LearnedSelector.load(learned_folder, changed, encoder=ToyEncoder())
    assert (caught.value.part, caught.value.present) == ("pool", changed.fingerprint)
    LearnedSelector.load(learned_folder, changed, encoder=ToyEncoder(), force=True).select(queries, 3)
    with pytest.raises(ArtifactMismatchError, match="encoder"):
        LearnedSelector.load(learned_folder, pool, encoder=ToyEncoder(width=16))


def test_a_policy_knows_which_engine_it_was_trained_for(learned_folder: Path) -> None:
    """Guards against answers from another template or language model, silently worse."""
    pool = planted_pool()
    selector = LearnedSelector.load(learned_folder, pool, encoder=ToyEncoder())
    selector.check_engine(engine(pool))
    other = planted_template()
    changed = InferenceEngine(ToyLanguageModel(), type(other)(other.template, other.verbalizers, separator="\n"), pool)
    with pytest.raises(ArtifactMismatchError, match="template"):
        selector.check_engine(changed)
    selector.check_engine(changed, force=True)


def test_a_policy_that_may_stop_may_choose_fewer(tmp_path: Path) -> None:
    """Guards STOP at serving: a network that scores it highest ends at once, and k is an upper bound."""
    import torch

    pool = planted_pool()
    folder = artifact(tmp_path / "policy", pool, may_stop=True)
    selector = LearnedSelector.load(folder, pool, encoder=ToyEncoder())
    with torch.no_grad():
        selector.artifact.network.stop.bias.fill_(100.0)
    assert selector.select(planted_examples(2, prefix="q"), 3)[0].indices == ()
    with torch.no_grad():
        selector.artifact.network.stop.bias.fill_(-100.0)
    assert len(selector.select(planted_examples(2, prefix="q"), 3)[0].indices) == 3


_FRESH = """
import json, sys
from selector.strategies.learned import LearnedSelector
from selector.testing import ToyEncoder, planted_examples, planted_pool
selector = LearnedSelector.load(sys.argv[1], planted_pool(), encoder=ToyEncoder())
selections = selector.select(planted_examples(10, seed=2, prefix="q"), 3)
unwanted = [name for name in ("stable_baselines3", "sb3_contrib", "gymnasium", "transformers") if name in sys.modules]
print(json.dumps([[list(one.indices), list(one.scores)] for one in selections] + [unwanted]))
"""


def test_a_fresh_process_selects_alike_without_the_learners(learned_folder: Path) -> None:
    """Guards portability: the artifact decides alike where neither learner, environment nor language model exists."""
    import json

    selector = LearnedSelector.load(learned_folder, planted_pool(), encoder=ToyEncoder())
    here = selector.select(planted_examples(10, seed=2, prefix="q"), 3)
    done = subprocess.run(
        [sys.executable, "-c", _FRESH, str(learned_folder)], capture_output=True, text=True, check=True
    )
    *there, unwanted = json.loads(done.stdout)
    assert unwanted == []
    assert [indices for indices, _ in there] == [list(one.indices) for one in here]
    assert [scores for _, scores in there] == [pytest.approx(list(one.scores), abs=1e-5) for one in here]
