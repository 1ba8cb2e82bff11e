"""Tests of the per-corpus environment, single and vectorised, on the toy model and on a planted problem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_learners

import envs  # noqa: F401 - registers the environment
from envs.corpus import CorpusProblem, CorpusScorer, CorpusSelectionEnv, VectorCorpusSelection, corpus_problem
from envs.corpus import make_environment as make_corpus_environment
from envs.dynamics import DecisionConfig, Episode
from envs.planted_corpus import optimal_value, planted_corpus_problem, random_values
from envs.rewards import POTENTIALS
from selector.errors import ShotsmithError, TooFewExamplesError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.lm.base import CompletionScore
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Selection

REWARD = planted_examples(5, seed=5, prefix="reward")


class CountingModel(ToyLanguageModel):
    """The toy model, which also counts how often it is called."""

    batches = 0

    def logprobs(self, prompts: list[str], completions: list[str]) -> list[CompletionScore]:  # type: ignore[override]
        self.batches += 1
        return super().logprobs(prompts, completions)


def lm_problem(
    *, kind: str = "probability", dense: bool = True, may_stop: bool = False, lm_features: bool = False
) -> tuple[CorpusProblem, CountingModel]:
    pool, model = planted_pool(16), CountingModel()
    config = DecisionConfig(shots=3, size=6, may_stop=may_stop, dense=dense)
    engine, nearest = InferenceEngine(model, planted_template(), pool), NearestSelector(pool, ToyEncoder())
    return corpus_problem(engine, nearest, REWARD, config=config, reward=kind, lm_features=lm_features), model


def unmasked(problem: CorpusProblem) -> CorpusProblem:
    """A problem in which every first action is valid, which is what generic checkers sample."""
    config = DecisionConfig(shots=1, may_stop=True)
    return CorpusProblem(problem.candidates, problem.scorer, config, uncertainty=problem.uncertainty)


@pytest.mark.parametrize("lm_features", [False, True])
def test_both_checkers_are_clean(lm_features: bool) -> None:
    """Guards the Gymnasium and the stable-baselines3 contract: spaces, seeding, types; any warning is an error."""
    env = CorpusSelectionEnv(unmasked(lm_problem(lm_features=lm_features)[0]))
    check_env(env, skip_render_check=True)
    check_env_for_learners(env, warn=True)


@pytest.mark.parametrize("lm_features", [False, True])
def test_observations_stay_in_the_space_for_whole_episodes(lm_features: bool) -> None:
    """Guards declared bounds and shapes, masks, and a repeated demonstration, at every step."""
    env = CorpusSelectionEnv(lm_problem(may_stop=True, lm_features=lm_features)[0])
    rng = np.random.default_rng(0)
    for _ in range(6):
        observation, information = env.reset()
        assert information.keys() == {"selection", "potential"}
        done = False
        while not done:
            assert env.observation_space.contains(observation)
            mask = env.action_masks()
            assert (observation["mask"] > 0).tolist() == mask.tolist()
            assert mask.sum() == 7 - len(information["selection"])
            observation, _, done, truncated, information = env.step(rng.choice(np.flatnonzero(mask)))
            assert not truncated
        assert env.observation_space.contains(observation)


def test_invalid_actions_are_named() -> None:
    """Guards against a repeated demonstration, and against STOP where it is not allowed."""
    env = CorpusSelectionEnv(lm_problem()[0])
    env.reset(seed=0)
    env.step(1)
    for action in (1, 6, 7, -1):
        with pytest.raises(ShotsmithError, match="not valid"):
            env.step(action)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(POTENTIALS)), st.booleans(), st.booleans(), st.integers(0, 10_000))
def test_rewards_telescope_to_the_gain_of_the_final_prompt(kind: str, dense: bool, may_stop: bool, seed: int) -> None:
    """Guards the published reward: gains add up to what the final prompt is worth over zero-shot, STOP or not."""
    problem, _ = lm_problem(kind=kind, dense=dense, may_stop=may_stop)
    env = CorpusSelectionEnv(problem)
    rng = np.random.default_rng(seed)
    _, information = env.reset()
    total, done = 0.0, False
    while not done:
        _, reward, done, _, information = env.step(rng.choice(np.flatnonzero(env.action_masks())))
        total += reward
    final, none = problem.scorer.potentials([0, 0], [Selection.of(*information["selection"]), Selection.of()])
    assert total == pytest.approx(final - none, abs=1e-9)
    assert information["potential"] == pytest.approx(final)


def test_a_prompt_is_worth_what_evaluation_would_measure() -> None:
    """Guards against a second truth: the reward is the engine's accuracy on the reward queries, in the order chosen."""
    problem, _ = lm_problem(kind="accuracy")
    pool = planted_pool(16)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    env = CorpusSelectionEnv(problem)
    env.reset()
    for action in (4, 0, 2):
        _, _, done, _, information = env.step(action)
    indices = problem.candidates.shortlist.indices
    assert done
    assert information["selection"] == (indices[4], indices[0], indices[2])
    shown = [Selection.of(*information["selection"])] * len(REWARD)
    assert information["potential"] == engine.accuracy(REWARD, shown)


def test_a_prompt_that_was_valued_before_costs_nothing() -> None:
    """Guards the memory: on a fixed reward set a revisited prompt must not reach the language model."""
    problem, model = lm_problem(lm_features=True)
    env = CorpusSelectionEnv(problem)
    for _ in range(2):
        env.reset()
        for action in (3, 1, 5):
            observation, *_ = env.step(action)
        calls = model.usage.calls
        last = observation
    assert model.usage.calls == calls
    env.reset()
    for action in (3, 1, 0):
        env.step(action)
    assert model.usage.calls == calls + 2 * len(REWARD)  # both labels of each reward query, for the last prompt alone
    assert not np.array_equal(last["chosen"], env.problem.observe(Episode(0, (3, 1, 0)))["chosen"])


def test_all_copies_step_with_one_batch() -> None:
    """Guards the batch: N copies must not call the language model N times, nor value one prompt twice."""
    problem, model = lm_problem()
    copies = VectorCorpusSelection(problem, 4)
    copies.reset(seed=0)
    assert (model.batches, model.usage.calls) == (1, 2 * len(REWARD))
    copies.step(np.array([0, 1, 1, 2]))
    assert (model.batches, model.usage.calls) == (2, 2 * len(REWARD) * 4)
    problem, model = lm_problem(lm_features=True)
    copies = VectorCorpusSelection(problem, 4)
    copies.reset(seed=0)
    before = model.batches
    copies.step(np.array([0, 1, 1, 2]))
    assert model.batches == before + 2  # one for rewards, one for what the copies then see


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_the_vectorised_form_steps_as_single_environments_do(seed: int, dense: bool, lm_features: bool) -> None:
    """Guards the one set of rules: same actions, same observations, rewards and ends."""
    problem, _ = lm_problem(dense=dense, may_stop=True, lm_features=lm_features)
    copies = VectorCorpusSelection(problem, 3)
    observations, _ = copies.reset(seed=seed)
    singles = [CorpusSelectionEnv(problem) for _ in range(3)]
    for single in singles:
        single.reset()
    rng = np.random.default_rng(seed)
    for _ in range(5):
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in copies.action_masks()])
        observations, rewards, done, truncated, information = copies.step(actions)
        assert not truncated.any()
        for number, single in enumerate(singles):
            observation, reward, over, _, info = single.step(int(actions[number]))
            assert (reward, over) == (pytest.approx(rewards[number]), done[number])
            if over:
                last = information["final_obs"][number]
                assert all(np.array_equal(last[name], observation[name]) for name in observation)
                assert information["final_selection"][number] == info["selection"]
                observation, _ = single.reset()
            assert all(np.array_equal(observations[name][number], observation[name]) for name in observation)
    assert copies.observation_space.contains(observations)


def test_the_language_model_is_asked_only_with_its_features() -> None:
    """Guards the promise of the default observation, and what the optional one says, by hand."""
    problem, model = lm_problem()
    CorpusSelectionEnv(problem).reset()
    assert model.usage.calls == 2 * len(REWARD)  # the reward of zero-shot, nothing else
    problem, _ = lm_problem(lm_features=True)
    state = Episode(0, (2,))
    own = problem.inputs(state)["features"].reshape(6, -1)
    assert own.shape[1] == len(problem.features)
    pool = planted_pool(16)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    indices = problem.candidates.shortlist.indices
    asked = [pool[index] for index in indices]
    chances = engine.probabilities(asked, [Selection.of(indices[2])] * 6)
    entropy = -(chances * np.log(chances)).sum(axis=1) / np.log(2)
    wanted = np.stack([entropy, chances.min(axis=1), chances.max(axis=1), chances.std(axis=1)], axis=1)
    assert own[:, -4:] == pytest.approx(wanted, abs=1e-6)
    assert not problem.inputs(Episode(0, (0, 1, 2)))["features"].reshape(6, -1)[:, -4:].any()


def test_the_pointer_network_reads_it_too() -> None:
    """Guards learners written for the per-query problem: names, shapes and the first feature are the same."""
    problem, _ = lm_problem()
    observation = problem.observe(Episode(0, (4, 0)))
    network = PointerNetwork(PointerNetworkConfig(width=problem.width, features=len(problem.features)))
    logits, values = network({name: torch.from_numpy(array)[None] for name, array in observation.items()})
    assert (logits.shape, values.shape) == ((1, 7), (1,))
    similarities = observation["features"].reshape(6, -1)[:, 0]
    assert similarities == pytest.approx(problem.candidates.shortlist.similarities)


@pytest.mark.parametrize("limits", [{"max_per_label": 1}, {"token_budget": 25}])
def test_limits_are_masks(limits: dict[str, int]) -> None:
    """Guards class balance and the token budget: no choice can break them, and only STOP is left when they bind."""
    pool = planted_pool(16)
    engine, nearest = InferenceEngine(ToyLanguageModel(), planted_template(), pool), NearestSelector(pool, ToyEncoder())
    config = DecisionConfig(shots=4, size=6, **limits)  # type: ignore[arg-type]
    env = CorpusSelectionEnv(corpus_problem(engine, nearest, REWARD, config=config, token_cost=1.0))
    env.reset()
    start = env._episode.potential
    total, done, rng = 0.0, False, np.random.default_rng(0)
    while not done:
        observation, reward, done, _, information = env.step(rng.choice(np.flatnonzero(env.action_masks())))
        assert (observation["mask"] > 0).tolist() == env.action_masks().tolist()
        total += reward
    shown = [pool[index] for index in information["selection"]]
    tokens = sum(engine.demonstration_tokens(information["selection"]))
    if "token_budget" in limits:
        assert 0 < tokens <= 25
    else:
        assert sorted(one.label or "" for one in shown) == ["fresh", "rotten"]
    accuracy = engine.accuracy(REWARD, [Selection.of(*information["selection"])] * len(REWARD))
    assert total == pytest.approx(accuracy - tokens / 1000 - start)


def test_wrong_problems_are_refused() -> None:
    """Guards the constructor's messages."""
    pool = planted_pool(8)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    with pytest.raises(TooFewExamplesError, match="labelled queries"):
        CorpusScorer(engine, [])
    with pytest.raises(UnknownNameError, match="logprob"):
        lm_problem(kind="bleu")
    with pytest.raises(UnknownNameError, match="reward, dev"):
        make_corpus_environment(task="rotten-tomatoes", split="test")


def test_the_planted_optimum_is_far_from_chance() -> None:
    """Guards the planted problem itself, and that a seed gives another pool under the same relation."""
    problem, pool, rows = planted_corpus_problem(seed=3)
    assert optimal_value(problem) > random_values(problem, episodes=200, seed=0).mean() * 1.2
    again, same, _ = planted_corpus_problem(seed=3)
    assert pool.fingerprint == same.fingerprint
    assert again.candidates.shortlist.indices == problem.candidates.shortlist.indices
    assert planted_corpus_problem(seed=4)[1].fingerprint != pool.fingerprint
    assert rows.shape == (40, 8)


@pytest.mark.bundled
def test_gymnasium_makes_it_by_name_and_its_spec_round_trips(tmp_path: Path) -> None:
    """Guards the registered id, the factory over a real task, and experiments that name their environment."""
    rows = [f'{{"text": "{example.fields["text"]}", "label": "{example.label}"}}' for example in planted_examples(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    (tmp_path / "task.toml").write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 5\nreward_size = 5\ndev_size = 5\n'
        '[fields]\ninputs = ["text"]\nlabel = "label"\n[prompt]\ntemplate = "Review: {text}\\nSentiment:{label}"\n'
    )
    options = {"task": str(tmp_path / "task.toml"), "shots": 2, "candidates": 4, "reward": "logprob"}
    env = gymnasium.make("envs:shotsmith/CorpusSelection-v0", **options, use_store=False)
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    again = gymnasium.make(spec)
    outcomes = []
    for one in (env, again):
        one.reset(seed=1)
        outcomes.append([one.step(0)[1], one.step(3)[1]])
        assert one.unwrapped.action_masks().sum() == 1
    assert outcomes[0] == pytest.approx(outcomes[1], abs=1e-5)
    assert any(reward != 0 for reward in outcomes[0])


def test_what_one_prompt_has_no_use_for_is_refused() -> None:
    """Guards rules of the other environment, which did nothing here, and a pool that is smaller than a prompt."""
    problem, _ = lm_problem()
    for wrong in ({"per_label": 2}, {"lm_features": True}):
        with pytest.raises(UsageError, match="one prompt"):
            CorpusProblem(problem.candidates, problem.scorer, replace(problem.config, **wrong))
    pool = planted_pool(3)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    queries = planted_examples(4, seed=5, prefix="reward")
    with pytest.raises(TooFewExamplesError, match="3 candidates are available"):
        corpus_problem(engine, NearestSelector(pool, ToyEncoder()), queries, config=DecisionConfig(shots=4, size=100))
