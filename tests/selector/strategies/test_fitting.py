"""Tests that a policy is served with the template and language model that it was trained with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from selector.data.pool import Pool
from selector.errors import ArtifactMismatchError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import CORPUS, CORPUS_FEATURES, Manifest, write_artifact
from selector.learned.corpus_artifact import write_corpus_artifact
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.learned.lm_features import PROMPT_FEATURES
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import feature_names
from selector.prompting.template import PromptTemplate
from selector.strategies.corpus import CorpusSelector
from selector.strategies.exported import load_policy
from selector.strategies.learned import LearnedSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template


def engine(pool: Pool, *, separator: str = "\n\n") -> InferenceEngine:
    own = planted_template()
    return InferenceEngine(ToyLanguageModel(), PromptTemplate(own.template, own.verbalizers, separator=separator), pool)


def reading(folder: Path, pool: Pool, kind: str) -> Path:
    """An artifact of an untrained policy that reads the language model."""
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
        "similarity_weight": 10.0,
        "prompt_features": len(PROMPT_FEATURES),
    }
    pointer = PointerNetwork(PointerNetworkConfig(**shape))  # type: ignore[arg-type]
    return write_artifact(folder, Manifest(**settings, network=shape, features=features), pointer)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["per-query", CORPUS])
def test_a_policy_that_reads_the_language_model_is_not_served_with_another(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards loading: only `check_engine` looked at the engine, and selecting never called it."""
    pool = planted_pool()
    folder = reading(tmp_path / "policy", pool, kind)
    monkeypatch.setattr("selector.strategies.fitting.SentenceEncoder.load", lambda _: ToyEncoder())
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
