"""Tests of what makes a run the same run: what it is paid by counts, and a folder that is damaged is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.corpus_stage import train_corpus_policy_on
from policies.export import export_policy
from policies.offline_dqn import CorpusTrainingConfig
from policies.ppo import PolicyTrainingConfig
from policies.stages import train_policy_on
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.corpus_artifact import read_policy
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example

REWARD, DEV = planted_examples(8, seed=3, prefix="reward"), planted_examples(6, seed=4, prefix="dev")
PER_QUERY = PolicyTrainingConfig(
    shots=2, shortlist_size=6, total_steps=64, copies=8, rollout_steps=4, batch_size=16, similarity_weight=0.0
)
PER_CORPUS = CorpusTrainingConfig(shots=2, candidates=6, episodes=8, steps=20, target_every=10, evaluate_every=20)


def workspace(*, reward: Sequence[Example] = REWARD, dev: Sequence[Example] = DEV, **engine: str) -> Any:
    """A workspace over planted reviews, with the toy models."""
    pool, template = planted_pool(16), planted_template()
    task = SimpleNamespace(
        pool=pool, template=template, reward=tuple(reward), dev=tuple(dev), encoder=SimpleNamespace(model="toy")
    )
    judge = InferenceEngine(ToyLanguageModel(), template, pool, **engine)
    return SimpleNamespace(task=task, engine=judge, encoder=ToyEncoder())


def flipped(queries: Sequence[Example]) -> list[Example]:
    first, second = sorted({str(query.label) for query in queries})
    return [replace(query, label=second if query.label == first else first) for query in queries]


@pytest.mark.parametrize(
    ("train", "config"), [(train_policy_on, PER_QUERY), (train_corpus_policy_on, PER_CORPUS)], ids=["query", "corpus"]
)
def test_a_run_that_is_paid_otherwise_is_another_run(
    tmp_path: Path, train: Callable[..., Path], config: object
) -> None:
    """Guards a resumed run whose halves had different gold labels, scoring or calibration: it went on silently."""
    out = tmp_path / "run"
    train(workspace(), out, retriever=None, config=config)
    for other, named in (
        (workspace(reward=flipped(REWARD)), "reward queries"),
        (workspace(dev=flipped(DEV)), "dev queries"),
        (workspace(scoring="channel"), "scoring"),
        (workspace(calibration="contextual"), "calibration"),
    ):
        with pytest.raises(UsageError, match=rf"other settings or data \({named}\)"):
            train(other, out, retriever=None, config=config)
    train(workspace(), out, retriever=None, config=config)
    fingerprints = read_policy(export_policy(out, tmp_path / "policy")).manifest.fingerprints
    assert (fingerprints["scoring"], fingerprints["calibration"]) == ("direct", "none")
