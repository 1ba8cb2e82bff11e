"""Tests of limits by hand, and of limits that travel with an artifact."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from selector.data.pool import Pool
from selector.errors import ArtifactError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import MANIFEST_FILE, read_artifact, write_artifact
from selector.learned.constraints import UNCONSTRAINED, Constraints
from selector.learned.manifest import LATER_KEYS, Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES, valid_actions
from selector.learned.shortlist import Shortlist
from selector.strategies.learned import LearnedSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template

SIZES = {"width": 32, "features": len(FEATURES), "hidden": 16, "similarity_weight": 10.0, "stop_logit": -2.0}
QUERIES = planted_examples(6, seed=2, prefix="q")


def shortlist() -> Shortlist:
    return Shortlist(
        (7, 8, 9, 4),
        np.zeros(2, np.float32),
        np.zeros((4, 2), np.float32),
        np.zeros(4, np.float32),
        np.array([0, 0, 1, 0]),
        np.array([10, 30, 20, 5]),
    )


def artifact(folder: Path, pool: Pool, **changes: object) -> Path:
    manifest = Manifest(
        shots=2,
        shortlist_size=8,
        may_stop=False,
        labelled_demonstrations=False,
        network=SIZES,
        encoder="toy",
        fingerprints={
            "pool": pool.fingerprint,
            "encoder": ToyEncoder().fingerprint,
            "template": planted_template().fingerprint,
            "language model": ToyLanguageModel().fingerprint,
        },
        **changes,  # type: ignore[arg-type]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PointerNetwork(PointerNetworkConfig(**SIZES))  # type: ignore[arg-type]
    return write_artifact(folder, manifest, network)


def test_limits_by_hand() -> None:
    """Guards what counts: labels and tokens of what is chosen, and of the candidate itself."""
    own = shortlist()
    assert UNCONSTRAINED.allowed(own, [0, 1]).all()
    assert Constraints(max_per_label=2).allowed(own, [0]).tolist() == [True] * 4
    assert Constraints(max_per_label=2).allowed(own, [0, 3]).tolist() == [False, False, True, False]
    assert Constraints(token_budget=30).allowed(own, []).tolist() == [True, True, True, True]
    assert Constraints(token_budget=30).allowed(own, [0]).tolist() == [True, False, True, True]
    both = Constraints(max_per_label=1, token_budget=25)
    mask = valid_actions(own, [0], size=5, horizon=3, may_stop=False, constraints=both)
    assert mask.tolist() == [False] * 5 + [True]


def test_manifests_of_before_have_no_limits(tmp_path: Path) -> None:
    """Guards artifacts written before there were limits, and that no other key may lack."""
    folder = artifact(tmp_path / "policy", planted_pool(), max_per_label=3, token_budget=90)
    assert read_artifact(folder).manifest.constraints == Constraints(3, 90)
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in content.items() if name not in LATER_KEYS}))
    manifest = read_artifact(folder).manifest
    assert manifest.constraints == UNCONSTRAINED
    path.write_text(json.dumps({name: value for name, value in content.items() if name != "encoder"}))
    with pytest.raises(ArtifactError, match="without the key"):
        read_artifact(folder)


@pytest.mark.parametrize("beams", [1, 3])
def test_an_exported_policy_keeps_the_classes_balanced(tmp_path: Path, beams: int) -> None:
    """Guards serving without a language model, for a k of its own."""
    pool = planted_pool()
    folder = artifact(tmp_path / "policy", pool, max_per_label=2)
    chosen = LearnedSelector.load(folder, pool, encoder=ToyEncoder(), beams=beams).select(QUERIES, 4)
    for selection in chosen:
        assert max(Counter(pool[index].label for index in selection.indices).values()) <= 2
    free = LearnedSelector.load(artifact(tmp_path / "free", pool), pool, encoder=ToyEncoder()).select(QUERIES, 4)
    assert [len(selection.indices) for selection in free] == [4] * 6


def test_a_token_budget_needs_someone_who_counts(tmp_path: Path) -> None:
    """Guards a budget that is silently not kept: an engine or counts are demanded, and both keep it."""
    pool = planted_pool()
    folder = artifact(tmp_path / "policy", pool, token_budget=30)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    with pytest.raises(UsageError, match="nothing counts tokens"):
        LearnedSelector.load(folder, pool, encoder=ToyEncoder())
    other = InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(8))
    with pytest.raises(UsageError, match="another pool"):
        LearnedSelector.load(folder, pool, encoder=ToyEncoder(), engine=lambda: other)
    by_engine = LearnedSelector.load(folder, pool, encoder=ToyEncoder(), engine=lambda: engine).select(QUERIES, 4)
    for selection in by_engine:
        assert 0 < sum(engine.demonstration_tokens(selection.indices)) <= 30
    assert engine.lm.usage.calls == 0
    counts = engine.demonstration_tokens(range(len(pool)))
    selector = LearnedSelector.load(
        folder, pool, encoder=ToyEncoder(), token_counts=lambda indices: [counts[index] for index in indices]
    )
    assert selector.select(QUERIES, 4) == by_engine
