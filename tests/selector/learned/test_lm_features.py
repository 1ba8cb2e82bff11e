"""Tests of what the language model says of a state, in training and in serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.demonstrations import query_problem
from envs.dynamics import DecisionConfig, DecisionProblem, Episode
from envs.planted import planted_problem
from envs.vector import VectorDemoSelection
from policies.export import export_policy
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import train_policy
from policies.runs import Provenance
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import read_artifact
from selector.learned.lm_features import PROMPT_FEATURES, TOP_LABELS, EngineReader, prompt_features
from selector.learned.observation import AGREEMENT, feature_names
from selector.prompting.template import PromptTemplate
from selector.strategies.dense import NearestSelector
from selector.strategies.learned import LearnedSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Selection

QUERIES = planted_examples(6, seed=5, prefix="reward")


def engine() -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(16))


def problem(own: InferenceEngine, **changes: object) -> DecisionProblem:
    config = DecisionConfig(shots=2, size=6, lm_features=True, **changes)  # type: ignore[arg-type]
    return query_problem(own, QUERIES, NearestSelector(own.pool, ToyEncoder()), config)


def test_features_of_a_prompt_by_hand() -> None:
    """Guards their meaning: sorted probabilities padded with 0, entropy as a share, surprise at seeing any label."""
    scores = np.log([0.1, 0.3])
    named = dict(zip(PROMPT_FEATURES, prompt_features(scores), strict=True))
    assert [named[f"probability_{rank}"] for rank in (1, 2, 3, 4)] == pytest.approx([0.75, 0.25, 0, 0])
    share = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(2)
    assert named["entropy"] == pytest.approx(share)
    assert named["familiarity"] == pytest.approx(1 / (1 - np.log(0.4)))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-60, 3), min_size=1, max_size=9), st.randoms())
def test_labels_may_be_renamed_and_every_feature_stays_in_its_space(scores: list[float], random: object) -> None:
    """Guards transfer and the declared space: the order of labels must not matter, nor how sharp or many they are."""
    shuffled = list(scores)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    features = prompt_features(np.array(scores))
    assert features.shape == (TOP_LABELS + 2,)
    assert ((features >= 0) & (features <= 1)).all()
    assert prompt_features(np.array(shuffled)) == pytest.approx(features, abs=1e-6)


def test_candidates_are_told_whether_the_prompt_agrees_with_their_label() -> None:
    """Guards the columns: shortlists number labels as the pool does, scores as the template does."""
    pool, template = planted_pool(16), planted_template()
    turned = PromptTemplate(template=template.template, verbalizers=dict(reversed(list(template.verbalizers.items()))))
    for own in (InferenceEngine(ToyLanguageModel(), template, pool), InferenceEngine(ToyLanguageModel(), turned, pool)):
        made = problem(own)
        shortlist = made.shortlists[2]
        state = made.step(made.start([2]), [3])[0].episode
        seen = made.observe(state)
        column = feature_names(lm_features=True).index(AGREEMENT)
        agreement = seen["features"].reshape(6, -1)[:, column]
        (probabilities,) = own.probabilities([QUERIES[2]], [Selection.of(shortlist.indices[3])])
        wanted = [probabilities[own.labels.index(str(pool[index].label))] for index in shortlist.indices]
        assert agreement == pytest.approx(wanted, abs=1e-6)


def test_all_copies_are_looked_at_with_one_batch() -> None:
    """Guards the cost: one call a step for all new states, and none for states seen before."""
    own = engine()
    made = problem(own)
    copies = VectorDemoSelection(made, 4)
    assert made.reader is not None
    calls: list[int] = []
    read = made.reader.read
    made.reader.read = lambda *asked: calls.append(len(asked[0])) or read(*asked)  # type: ignore[method-assign]
    observations, _ = copies.reset(seed=0)
    assert copies.observation_space.contains(observations)
    for step in range(1, 5):
        observations, *_ = copies.step(np.array([step % 2] * 4))
        assert len(calls) <= step + 1
        assert copies.observation_space.contains(observations)
    known = len(calls)
    copies.observations()
    assert len(calls) == known


def test_the_query_alone_is_shown_once() -> None:
    """Guards the cheap view: one call for each query, whatever is chosen, and what it says is of the query alone."""
    own = engine()
    made = problem(own, lm_view="query")
    states = [Episode(query, chosen) for query in (0, 1, 0) for chosen in ((), (2,), (2, 0))]
    before = own.lm.usage.calls
    seen = made.observe_all(states)
    assert own.lm.usage.calls - before == 2 * len(own.labels)
    (probabilities,) = own.probabilities([QUERIES[1]], [Selection.of()])
    for state, observation in zip(states, seen, strict=True):
        if state.query == 1:
            labels = [own.labels.index(str(own.pool[index].label)) for index in made.shortlists[1].indices]
            assert observation["features"].reshape(6, -1)[:, -1] == pytest.approx(probabilities[labels], abs=1e-6)


def test_without_the_option_nothing_is_different() -> None:
    """Guards the default policy: embeddings only, servable without a language model."""
    own, _ = planted_problem()
    assert set(own.observe(own.start([0])[0])) == {"query", "candidates", "features", "chosen", "mask", "step"}
    with pytest.raises(UsageError, match="both or neither"):
        DecisionProblem(own.shortlists, own.scorer, DecisionConfig(size=6, lm_features=True))


@pytest.mark.parametrize(("view", "per_label"), [("prompt", 0), ("query", 3)])
def test_an_exported_policy_sees_in_serving_what_it_saw_in_training(tmp_path: Path, view: str, per_label: int) -> None:
    """Guards the way from training to serving: parity at export, an engine demanded, the same choices as on dev."""
    own = engine()
    made = problem(own, lm_view=view, per_label=per_label)
    own_settings = {"lm_features": True, "lm_view": view, "per_label": per_label}
    config = PolicyTrainingConfig(
        shots=2, shortlist_size=6, total_steps=64, copies=8, rollout_steps=4, batch_size=16, **own_settings
    )  # type: ignore[arg-type]
    fingerprints = {
        "pool": own.pool.fingerprint,
        "encoder": ToyEncoder().fingerprint,
        "template": own.template.fingerprint,
        "language model": own.lm.fingerprint,
    }
    provenance = Provenance("toy", labelled_demonstrations=False, fingerprints=fingerprints)
    run = train_policy(made, made, out=tmp_path / "run", config=config, provenance=provenance)
    folder = export_policy(run, tmp_path / "policy")
    artifact = read_artifact(folder)
    assert artifact.manifest.features == feature_names(lm_features=True, view=view)
    assert (artifact.view, artifact.manifest.per_label) == (view, per_label)
    assert artifact.asks_language_model
    with pytest.raises(UsageError, match="there is no engine"):
        LearnedSelector.load(folder, own.pool, encoder=ToyEncoder())
    selector = LearnedSelector.load(folder, own.pool, encoder=ToyEncoder(), engine=lambda: own)
    for query, selection in enumerate(selector.select(QUERIES, 2)):
        (episode,) = made.start([query])
        for _ in range(2):
            batch = {name: torch.from_numpy(array)[None] for name, array in made.observe(episode).items()}
            with torch.inference_mode():
                logits = selector.artifact.network(batch)[0].masked_fill(batch["mask"] == 0, -torch.inf)
            episode = made.step([episode], [int(logits.argmax())])[0].episode
        assert made.selection(episode).indices == selection.indices


def test_free_text_has_no_distribution_over_labels() -> None:
    """Guards the message for a task whose targets are written."""
    template = PromptTemplate(template="Review: {text}\nSentiment:{label}", answer_tokens=2)
    with pytest.raises(UsageError, match="free text"):
        EngineReader(InferenceEngine(ToyLanguageModel(), template, planted_pool(8)), QUERIES)
