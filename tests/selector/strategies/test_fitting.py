"""Tests of loading exported policies: what they must fit, and how they may be told to choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selector.data.pool import Pool
from selector.errors import ArtifactMismatchError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import write_artifact
from selector.learned.candidate_set import embed_task
from selector.learned.corpus_artifact import write_corpus_artifact
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.learned.lm_features import PROMPT_FEATURES
from selector.learned.manifest import CORPUS, CORPUS_FEATURES, Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import feature_names
from selector.prompting.template import PromptTemplate
from selector.strategies.corpus import CorpusSelector
from selector.strategies.dense import NearestSelector
from selector.strategies.exported import load_learned, load_policy
from selector.strategies.learned import LearnedSelector
from selector.strategies.retriever import RetrieverCard, write_retriever_card
from selector.strategies.updated import updated_selector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template


def engine(pool: Pool, *, separator: str = "\n\n") -> InferenceEngine:
    own = planted_template()
    return InferenceEngine(ToyLanguageModel(), PromptTemplate(own.template, own.verbalizers, separator=separator), pool)


def reading(folder: Path, pool: Pool, kind: str) -> Path:
    """An artifact of an untrained policy that reads the language model."""
    torch.manual_seed(0)
    judge = engine(pool)
    settings = {
        "shots": 2,
        "shortlist_size": 6,
        "may_stop": False,
        "labelled_demonstrations": False,
        "encoder": "toy",
        "fingerprints": {
            "pool": pool.fingerprint,
            "encoder": ToyEncoder().fingerprint,
            "template": judge.template.fingerprint,
            "language model": judge.lm.fingerprint,
        },
    }
    if kind == CORPUS:
        count = len(CANDIDATE_FEATURES) + len(LM_FEATURES)
        sizes = {"width": 32, "state": len(STATE_FEATURES), "features": count, "hidden": 16, "dropout": 0.25}
        network = CorpusQNetwork(CorpusNetworkConfig(**sizes))  # type: ignore[arg-type]
        network.norm.show(torch.rand(100, len(STATE_FEATURES) + count))
        network.task.copy_(torch.from_numpy(ToyEncoder().encode(["task"])[0]))
        own = {
            "network": sizes,
            "kind": CORPUS,
            "features": (*CORPUS_FEATURES, *LM_FEATURES),
            "candidates": tuple(range(6)),
        }
        return write_corpus_artifact(folder, Manifest(**(settings | own)), network)  # type: ignore[arg-type]
    features = feature_names(lm_features=True)
    shape = {
        "width": 32,
        "features": len(features),
        "hidden": 16,
        "similarity_weight": -10.0,  # untrained, it prefers what is far from the query
        "prompt_features": len(PROMPT_FEATURES),
    }
    pointer = PointerNetwork(PointerNetworkConfig(**shape))  # type: ignore[arg-type]
    return write_artifact(folder, Manifest(**settings, network=shape, features=features), pointer)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def own_random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selector.strategies.fitting.SentenceEncoder.load", lambda _: ToyEncoder())


@pytest.mark.parametrize("kind", ["per-query", CORPUS])
def test_a_policy_that_reads_the_language_model_is_not_served_with_another(kind: str, tmp_path: Path) -> None:
    """Guards loading: only `check_engine` looked at the engine, and selecting never called it."""
    pool = planted_pool()
    folder = reading(tmp_path / "policy", pool, kind)
    load = CorpusSelector.load if kind == CORPUS else LearnedSelector.load
    other = engine(pool, separator="\n")
    with pytest.raises(ArtifactMismatchError, match="template"):
        load(folder, pool, encoder=ToyEncoder(), engine=lambda: other)
    with pytest.raises(ArtifactMismatchError, match="template"):
        load_policy(folder, pool, engine=lambda: other)
    queries = planted_examples(2, prefix="q")
    for made in (
        load_policy(folder, pool, engine=lambda: engine(pool)),
        load_policy(folder, pool, force=True, engine=lambda: other),
    ):
        assert [len(one.indices) for one in made.select(queries, 2)] == [2, 2]


def test_serving_says_how_wide_a_policy_searches(tmp_path: Path) -> None:
    """Guards beams and shortlist, which only Python code could reach, and the shortlist not even that."""
    pool = planted_pool()
    folder = reading(tmp_path / "policy", pool, "per-query")
    queries = planted_examples(6, prefix="q")
    nearest = [set(one.indices) for one in NearestSelector(pool, ToyEncoder()).select(queries, 2)]

    def chosen(**options: int) -> LearnedSelector:
        made = load_policy(folder, pool, engine=lambda: engine(pool), **options)  # type: ignore[arg-type]
        assert isinstance(made, LearnedSelector)
        return made

    as_trained = [set(one.indices) for one in chosen().select(queries, 2)]
    assert [set(one.indices) for one in chosen(shortlist_size=2).select(queries, 2)] == nearest != as_trained
    assert [len(one.indices) for one in chosen(shortlist_size=1).select(queries, 3)] == [3] * 6
    assert chosen(beams=3).beams == 3

    def worth(beams: int) -> list[float]:
        return [sum(one.scores) for one in chosen(beams=beams, shortlist_size=9).select(queries, 2)]

    pairs = list(zip(worth(9), worth(1), strict=True))
    assert all(wide >= narrow - 1e-6 for wide, narrow in pairs)
    for wrong in ({"beams": 0}, {"shortlist_size": 0}):
        with pytest.raises(UsageError, match="1 or more"):
            chosen(**wrong)


def test_what_searches_no_shortlist_refuses_one(tmp_path: Path) -> None:
    """Guards against options that are silently without effect."""
    pool = planted_pool()
    corpus = reading(tmp_path / "corpus", pool, CORPUS)
    retriever = tmp_path / "retriever"
    retriever.mkdir()
    write_retriever_card(retriever, RetrieverCard("base", "p", "t", "l"))
    for folder in (corpus, retriever):
        for options in ({"beams": 2}, {"shortlist_size": 5}):
            with pytest.raises(UsageError, match="per-query"):
                load_learned(folder, pool, engine=lambda: engine(pool), **options)  # type: ignore[arg-type]


def test_a_policy_follows_an_edited_pool_as_it_was_loaded(tmp_path: Path) -> None:
    """Guards a service: its first edit of the pool forgot what stood for the task and how wide to search."""
    pool, edited = planted_pool(), planted_pool(26)
    task = planted_examples(4, seed=2, prefix="other")
    made = load_policy(
        reading(tmp_path / "policy", pool, "per-query"), pool, engine=lambda: engine(pool), beams=3, shortlist_size=4
    )
    again = updated_selector(made, edited, lambda: engine(edited))
    assert isinstance(again, LearnedSelector)
    assert (again.beams, again.shortlist_size) == (3, 4)
    corpus = load_policy(
        reading(tmp_path / "corpus", pool, CORPUS), pool, engine=lambda: engine(pool), task_queries=task
    )
    later = updated_selector(corpus, edited, lambda: engine(edited))
    assert isinstance(later, CorpusSelector)
    later.select(planted_examples(1, prefix="q"), 2)
    [(candidates, _)] = later._described.values()
    assert candidates.shortlist.query == pytest.approx(embed_task(task, ToyEncoder()))


@pytest.mark.parametrize("part", ["scoring", "calibration"])
def test_a_policy_is_held_to_what_rewarded_it(part: str, tmp_path: Path) -> None:
    """Guards against answers by another scoring than the policy was paid by; artifacts that do not say are taken."""
    pool = planted_pool()
    made = reading(tmp_path / "silent", pool, "per-query")
    changed = {"scoring": "ppl"} if part == "scoring" else {"calibration": "contextual"}
    other = InferenceEngine(ToyLanguageModel(), planted_template(), pool, **changed)  # type: ignore[arg-type]
    silent = LearnedSelector.load(made, pool, engine=lambda: other)
    paid = {"scoring": "direct", "calibration": "none"}
    manifest = replace(silent.artifact.manifest, fingerprints={**silent.artifact.manifest.fingerprints, **paid})
    folder = write_artifact(tmp_path / "policy", manifest, silent.artifact.network)
    LearnedSelector.load(folder, pool, engine=lambda: engine(pool))
    with pytest.raises(ArtifactMismatchError, match=f"the {part} in use is {changed[part]}; expected {paid[part]}"):
        LearnedSelector.load(folder, pool, engine=lambda: other)
    LearnedSelector.load(folder, pool, engine=lambda: other, force=True)
