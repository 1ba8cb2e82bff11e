"""Tests of the single and the vectorised environment, on the planted problem and on the toy model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import DictInfoToList
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_learners

import envs  # noqa: F401 - registers the environment
from envs.demonstrations import DemoSelectionEnv, make_environment, require_limitable
from envs.dynamics import DecisionConfig, DecisionProblem
from envs.planted import PlantedScorer, optimal_returns, planted_problem, random_returns
from envs.rewards import POTENTIALS, EngineScorer
from envs.vector import VectorDemoSelection
from selector.data.pool import Pool
from selector.errors import EmptyPoolError, ShotsmithError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.shortlist import build_shortlists
from selector.prompting.template import PromptTemplate
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Selection


def unmasked(problem: DecisionProblem) -> DecisionProblem:
    """A problem in which every first action is valid, which is what generic checkers sample."""
    config = DecisionConfig(shots=1, size=problem.config.size, may_stop=True)
    return DecisionProblem(problem.shortlists, problem.scorer, config)


def lm_problem(*, kind: str = "logprob", dense: bool = True, may_stop: bool = False) -> DecisionProblem:
    """A problem rewarded by the toy language model."""
    pool, queries = planted_pool(16), planted_examples(6, seed=5, prefix="reward")
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    shortlists = build_shortlists(queries, NearestSelector(pool, ToyEncoder()), 8)
    config = DecisionConfig(shots=3, size=8, may_stop=may_stop, dense=dense)
    return DecisionProblem(shortlists, EngineScorer(engine, queries, kind=kind), config)


def test_both_checkers_are_clean() -> None:
    """Guards the Gymnasium and the stable-baselines3 contract: spaces, seeding, types; any warning is an error."""
    env = DemoSelectionEnv(unmasked(planted_problem()[0]))
    check_env(env, skip_render_check=True)
    check_env_for_learners(env, warn=True)
    assert env.observation_space.contains(env.reset(seed=0)[0])


def test_observations_stay_in_the_space_for_whole_episodes() -> None:
    """Guards declared bounds and shapes against real observations of every step."""
    env = DemoSelectionEnv(lm_problem(may_stop=True))
    rng = np.random.default_rng(0)
    for episode in range(8):
        observation, _ = env.reset(seed=episode)
        done = False
        while not done:
            assert env.observation_space.contains(observation)
            assert (observation["mask"] > 0).tolist() == env.action_masks().tolist()
            action = rng.choice(np.flatnonzero(env.action_masks()))
            observation, _, done, truncated, _ = env.step(action)
            assert not truncated
        assert env.observation_space.contains(observation)


def test_two_copies_with_one_seed_agree() -> None:
    """Guards determinism: randomness comes from the seed alone."""
    traces = []
    for _ in range(2):
        env = DemoSelectionEnv(planted_problem()[0])
        env.reset(seed=3)
        trace = []
        for _ in range(10):
            action = int(np.flatnonzero(env.action_masks())[-1])
            observation, reward, done, _, info = env.step(action)
            trace.append((reward, done, info["query"], info["selection"], observation["features"].tobytes()))
            if done:
                env.reset()
        traces.append(trace)
    assert traces[0] == traces[1]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(POTENTIALS)), st.booleans(), st.integers(0, 10_000))
def test_rewards_telescope_to_the_gain_of_the_final_prompt(kind: str, dense: bool, seed: int) -> None:
    """Guards potential-based shaping: dense and terminal rewards add up to potential(final) - potential(none)."""
    problem = lm_problem(kind=kind, dense=dense)
    env = DemoSelectionEnv(problem)
    rng = np.random.default_rng(seed)
    _, info = env.reset(options={"query": int(rng.integers(6))})
    total, done = 0.0, False
    while not done:
        _, reward, done, _, info = env.step(rng.choice(np.flatnonzero(env.action_masks())))
        total += reward
        assert dense or done or reward == 0.0
    final, none = problem.scorer.potentials([info["query"]] * 2, [Selection.of(*info["selection"]), Selection.of()])
    assert total == pytest.approx(final - none, abs=1e-9)
    assert info["potential"] == pytest.approx(final)


def test_stopping_is_paid_like_any_other_end() -> None:
    """Guards terminal rewards of episodes that end by STOP."""
    for dense in (True, False):
        env = DemoSelectionEnv(lm_problem(dense=dense, may_stop=True))
        _, start = env.reset(options={"query": 1})
        _, first, done, _, info = env.step(2)
        assert not done
        _, second, done, _, info = env.step(8)
        assert done
        assert len(info["selection"]) == 1
        assert first + second == pytest.approx(info["potential"] - start["potential"])


def test_the_order_chosen_is_the_prompt_order() -> None:
    """Guards against a reversed prompt: the last action stands next to the query."""
    problem = lm_problem()
    env = DemoSelectionEnv(problem)
    _, info = env.reset(options={"query": 2})
    for action in (4, 0, 6):
        _, _, done, _, info = env.step(action)
    indices = problem.shortlists[2].indices
    assert done
    assert info["selection"] == (indices[4], indices[0], indices[6])


def test_nothing_is_paid_behind_the_end() -> None:
    """Guards an episode that has ended, or not begun, against being stepped on."""
    env = DemoSelectionEnv(lm_problem(may_stop=True))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    assert env.step(8)[2]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_more_shots_than_candidates_are_refused() -> None:
    """Guards policies that were trained on shorter prompts than they serve."""
    with pytest.raises(UsageError, match="4 demonstrations are to be chosen among 2"):
        DecisionConfig(shots=4, size=2)


def test_gymnasium_reads_the_information_of_all_copies() -> None:
    """Guards names and masks of Gymnasium's convention, by its own wrapper."""
    copies = DictInfoToList(VectorDemoSelection(lm_problem(may_stop=True), 3))
    copies.reset(seed=0)
    first = copies.step(np.array([8, 0, 1]))[-1]
    running = ["potential", "query", "selection"]
    ended = ["final_info", "final_obs", "final_potential", "final_selection", *running]
    assert [sorted(own) for own in first] == [ended, running, running]
    assert first[0]["final_selection"] == first[0]["final_info"]["selection"] == ()
    assert sorted(first[0]["final_info"]) == running
    assert [len(own["selection"]) for own in first] == [0, 1, 1]
    assert [own["query"] for own in first] == [episode.query for episode in copies.unwrapped.episodes]


def test_copies_need_a_beginning_and_an_action_each() -> None:
    """Guards against errors of zip and numpy for a forgotten reset, or too few actions."""
    copies = VectorDemoSelection(lm_problem(), 3)
    for early in (copies.action_masks, lambda: copies.step(np.array([0, 1, 2]))):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            early()
    copies.reset(seed=0)
    with pytest.raises(UsageError, match="quer"):
        copies.reset(options={"query": 1})
    with pytest.raises(UsageError, match="2 actions for 3 copies"):
        copies.step(np.array([0, 1]))


@pytest.mark.parametrize("wrong", [0.7, np.float32(1.9), "2", True, np.array([1, 2]), None])
def test_only_whole_numbers_are_actions_and_queries(wrong: Any) -> None:
    """Guards against 1.9 that plays 1, and names of options that nobody reads."""
    env = DemoSelectionEnv(lm_problem())
    env.reset(seed=0)
    with pytest.raises(UsageError, match="action is"):
        env.step(wrong)
    if wrong is not None:
        with pytest.raises(UsageError, match="query is"):
            env.reset(options={"query": wrong})
    with pytest.raises(UsageError, match="quer"):
        env.reset(options={"quer": 1})
    env.step(np.int64(1))
    env.step(np.array(2))


def test_a_limit_for_labels_needs_labels() -> None:
    """Guards answers that are written or chosen from each query's own: such a limit never binds, without a word."""
    template = PromptTemplate("{text}\nA:{label}", answer_tokens=4)
    engine = InferenceEngine(ToyLanguageModel(), template, planted_pool())
    with pytest.raises(UsageError, match="max_per_label"):
        require_limitable(engine, DecisionConfig(max_per_label=1))
    require_limitable(engine, DecisionConfig())


def test_invalid_actions_are_named() -> None:
    """Guards against a repeated demonstration, and against STOP where it is not allowed."""
    env = DemoSelectionEnv(lm_problem())
    env.reset(seed=0)
    env.step(1)
    for action in (1, 8, 9, -1):
        with pytest.raises(ShotsmithError, match="not valid"):
            env.step(action)
    with pytest.raises(UsageError, match="0 to 5"):
        env.reset(options={"query": 6})


def test_wrong_problems_are_refused() -> None:
    """Guards the constructor's messages."""
    problem, scorer = planted_problem()
    with pytest.raises(EmptyPoolError):
        DecisionProblem([], scorer, DecisionConfig())
    with pytest.raises(UsageError, match="candidates"):
        DecisionProblem(problem.shortlists, scorer, DecisionConfig(size=2))
    with pytest.raises(UsageError, match="1 or more"):
        DecisionConfig(shots=0)
    with pytest.raises(UnknownNameError, match="logprob"):
        lm_problem(kind="bleu")


def test_a_short_shortlist_is_padded_and_ends_the_episode() -> None:
    """Guards pools that are smaller than the shortlist."""
    pool = Pool(list(planted_pool(3)))
    shortlists = build_shortlists([pool[0]], NearestSelector(pool, ToyEncoder()), 8)
    scorer = PlantedScorer(np.ones((1, 3)), np.zeros((3, 3)))
    env = DemoSelectionEnv(DecisionProblem(shortlists, scorer, DecisionConfig(shots=4, size=8)))
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True, True] + [False] * 7
    assert 0 not in shortlists[0].indices
    _, _, first, _, _ = env.step(0)
    _, _, second, _, _ = env.step(1)
    assert (first, second) == (False, True)


def test_all_copies_step_with_one_call_to_the_scorer() -> None:
    """Guards the batch: N copies must not ask the language model N times."""
    problem, scorer = planted_problem()
    copies = VectorDemoSelection(problem, 5)
    copies.reset(seed=0)
    after_reset = scorer.calls
    for step in range(1, 7):
        actions = np.array([np.flatnonzero(mask)[0] for mask in copies.action_masks()])
        copies.step(actions)
        assert scorer.calls == after_reset + step


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.booleans())
def test_the_vectorised_form_steps_as_single_environments_do(seed: int, dense: bool) -> None:
    """Guards the one set of rules: same queries and actions, same observations, rewards and ends."""
    problem = lm_problem(dense=dense, may_stop=True)
    copies = VectorDemoSelection(problem, 3)
    observations, information = copies.reset(seed=seed)
    singles = [DemoSelectionEnv(problem) for _ in range(3)]
    for single, query in zip(singles, information["query"], strict=True):
        single.reset(options={"query": int(query)})
    rng = np.random.default_rng(seed)
    for _ in range(6):
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
                observation, _ = single.reset(options={"query": int(information["query"][number])})
            assert all(np.array_equal(observations[name][number], observation[name]) for name in observation)
    assert copies.observation_space.contains(observations)


def test_the_planted_optimum_is_not_what_similarity_picks() -> None:
    """Guards the planted problem itself: it must be learnable, and not solved by the untrained policy."""
    problem, _ = planted_problem()
    optimum, chance = optimal_returns(problem), random_returns(problem, episodes=50, seed=0)
    nearest = [Selection.of(*shortlist.indices[:2]) for shortlist in problem.shortlists]
    naive = problem.scorer.potentials(range(len(nearest)), nearest)
    assert (optimum >= chance).all()
    assert naive.mean() < 0.5 * optimum.mean()


@pytest.mark.bundled
def test_gymnasium_makes_it_by_name_and_its_spec_round_trips(tmp_path: Path) -> None:
    """Guards the registered id, the factory over a real task, and experiments that name their environment."""
    rows = [f'{{"text": "{example.fields["text"]}", "label": "{example.label}"}}' for example in planted_examples(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    (tmp_path / "task.toml").write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 5\nreward_size = 5\ndev_size = 5\n'
        '[fields]\ninputs = ["text"]\nlabel = "label"\n[prompt]\ntemplate = "Review: {text}\\nSentiment:{label}"\n'
    )
    name = "envs:shotsmith/DemoSelection-v0"
    options = {"task": str(tmp_path / "task.toml"), "shots": 2, "shortlist_size": 4, "use_store": False}
    env = gymnasium.make(name, **options)
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    again = gymnasium.make(spec)
    outcomes = []
    for one in (env, again):
        one.reset(seed=1)
        outcomes.append([one.step(0)[1], one.step(3)[1]])
        assert one.unwrapped.action_masks().sum() == 1
    assert outcomes[0] == pytest.approx(outcomes[1], abs=1e-5)
    assert any(reward != 0 for reward in outcomes[0])


def test_the_test_split_is_out_of_reach() -> None:
    """Guards against a policy that is rewarded on test queries."""
    with pytest.raises(UnknownNameError, match="reward, dev"):
        make_environment(task="rotten-tomatoes", split="test")
