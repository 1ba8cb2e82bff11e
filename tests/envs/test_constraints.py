"""Tests of what a prompt may hold: the same in one environment, in many and in serving."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.demonstrations import DemoSelectionEnv, query_problem
from envs.dynamics import DecisionConfig, DecisionProblem
from envs.planted import planted_problem
from envs.vector import VectorDemoSelection
from selector.errors import ShotsmithError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.learned.rollout import beam_rollout
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template

LIMITS = st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from([None, 1, 20, 35, 60]))


def problem(max_per_label: int | None, token_budget: int | None, *, may_stop: bool = False) -> DecisionProblem:
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(16))
    config = DecisionConfig(
        shots=4, size=8, may_stop=may_stop, dense=False, max_per_label=max_per_label, token_budget=token_budget
    )
    queries = planted_examples(5, seed=5, prefix="reward")
    return query_problem(engine, queries, NearestSelector(engine.pool, ToyEncoder()), config)


def broken(own: DecisionProblem, query: int, indices: tuple[int, ...]) -> str:
    """What a prompt breaks, counted by hand; nothing where it keeps to the limits."""
    shortlist = own.shortlists[query]
    places = [shortlist.indices.index(index) for index in indices]
    most = max(Counter(shortlist.labels[places].tolist()).values(), default=0)
    if own.config.max_per_label is not None and most > own.config.max_per_label:
        return f"{most} of one label"
    if own.config.token_budget is None:
        return ""
    assert shortlist.tokens is not None
    tokens = int(shortlist.tokens[places].sum())
    return "" if tokens <= own.config.token_budget else f"{tokens} tokens"


@settings(deadline=None, max_examples=40)
@given(LIMITS, st.integers(0, 1000), st.booleans())
def test_no_episode_breaks_a_limit_and_every_episode_ends(
    limits: tuple[int | None, int | None], seed: int, may_stop: bool
) -> None:
    """Guards the mask of the environment, and episodes that would run out of valid actions."""
    own = problem(*limits, may_stop=may_stop)
    env = DemoSelectionEnv(own)
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    for _ in range(6):
        valid = env.action_masks()
        assert valid.any()
        assert may_stop or valid[-1] == (not valid[:-1].any())
        _, _, done, _, info = env.step(rng.choice(np.flatnonzero(valid)))
        assert broken(own, info["query"], info["selection"]) == ""
        if done:
            break
    assert done


@settings(deadline=None, max_examples=15)
@given(LIMITS, st.integers(0, 1000))
def test_copies_keep_to_the_limits_too(limits: tuple[int | None, int | None], seed: int) -> None:
    """Guards the vectorised form against a mask of its own."""
    own = problem(*limits)
    copies = VectorDemoSelection(own, 3)
    observations, _ = copies.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        assert np.array_equal(observations["mask"] > 0, copies.action_masks())
        queries = [episode.query for episode in copies.episodes]
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in copies.action_masks()])
        observations, _, done, _, information = copies.step(actions)
        for number in np.flatnonzero(done):
            assert broken(own, queries[number], information["final_selection"][number]) == ""


@settings(deadline=None, max_examples=15)
@given(LIMITS, st.integers(0, 1000), st.sampled_from([1, 3]))
def test_serving_keeps_to_the_limits(limits: tuple[int | None, int | None], seed: int, beams: int) -> None:
    """Guards greedy and beam serving: a policy that wants to break a limit cannot."""
    own = problem(*limits)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = PointerNetwork(PointerNetworkConfig(width=32, features=len(FEATURES), hidden=8)).eval()
    chosen = beam_rollout(
        network,
        own.shortlists,
        size=8,
        horizon=4,
        may_stop=False,
        beams=beams,
        constraints=own.config.constraints,
    )
    for query, selection in enumerate(chosen):
        assert broken(own, query, selection.indices) == ""
        places = [own.shortlists[query].indices.index(index) for index in selection.indices]
        left = own.config.constraints.allowed(own.shortlists[query], places)
        left[places] = False
        assert len(places) == 4 or not left.any(), "it stopped although something was left"


def test_a_limit_leaves_only_stop_and_names_what_is_not_valid() -> None:
    """Guards the dead end: with one demonstration of each of two labels, STOP is valid and nothing else is."""
    own = problem(1, None)
    env = DemoSelectionEnv(own)
    env.reset(options={"query": 0})
    labels = own.shortlists[0].labels
    env.step(int(np.flatnonzero(labels == 0)[0]))
    with pytest.raises(ShotsmithError, match="not valid"):
        env.step(int(np.flatnonzero(labels == 0)[1]))
    env.step(int(np.flatnonzero(labels == 1)[0]))
    assert env.action_masks().tolist() == [False] * 8 + [True]
    _, _, done, _, info = env.step(8)
    assert done
    assert len(info["selection"]) == 2


def test_without_limits_nothing_is_different() -> None:
    """Guards the default: the masks of before, no tokens counted."""
    own = problem(None, None)
    assert all(shortlist.tokens is None for shortlist in own.shortlists)
    assert own.mask(own.start([0])[0]).tolist() == [True] * 8 + [False]


def test_impossible_limits_are_refused() -> None:
    """Guards the messages: a limit of nothing, and a budget over tokens that nobody counted."""
    for limits in ({"max_per_label": 0}, {"token_budget": -1}):
        with pytest.raises(UsageError, match="1 or more"):
            DecisionConfig(**limits)  # type: ignore[arg-type]
    planted, scorer = planted_problem()
    with pytest.raises(UsageError, match="not known"):
        DecisionProblem(planted.shortlists, scorer, DecisionConfig(size=6, token_budget=100))
