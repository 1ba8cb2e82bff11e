"""Tests of several problems as one."""

from __future__ import annotations

import numpy as np
import pytest

from envs.demonstrations import query_problem
from envs.dynamics import DecisionConfig, DecisionProblem
from envs.mixed import mixed_problem
from envs.planted import planted_problem
from envs.rewards import JudgingScorer
from envs.vector import VectorDemoSelection
from selector.errors import EmptyPoolError, UsageError
from selector.inference.engine import InferenceEngine
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template


def lm_problem(*, seed: int, queries: int, lm_features: bool = False) -> DecisionProblem:
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(12, seed=seed))
    asked = planted_examples(queries, seed=seed + 5, prefix="reward")
    config = DecisionConfig(shots=2, size=6, lm_features=lm_features)
    return query_problem(engine, asked, NearestSelector(engine.pool, ToyEncoder()), config)


@pytest.mark.parametrize("lm_features", [False, True])
def test_every_query_keeps_its_own_pool_and_scorer(lm_features: bool) -> None:
    """Guards against queries of one task that are rewarded with the demonstrations of another."""
    parts = [lm_problem(seed=seed, queries=queries, lm_features=lm_features) for seed, queries in ((0, 3), (1, 4))]
    mixed = mixed_problem(parts)
    owners = [(part, query) for part in parts for query in range(len(part.shortlists))]
    asked = [6, 0, 3, 2, 6]
    together = mixed.start(asked)
    for action in (4, 1):
        outcomes = mixed.step(together, [action] * 5)
        for number, query in enumerate(asked):
            part, own = owners[query]
            before = part.start([own])[0] if action == 4 else part.step(part.start([own]), [4])[0].episode
            alone = part.step([before], [action])[0]
            assert outcomes[number].reward == pytest.approx(alone.reward)
            seen, wanted = mixed.observe(outcomes[number].episode), part.observe(alone.episode)
            assert all(np.allclose(seen[name], wanted[name]) for name in wanted)
        together = [outcome.episode for outcome in outcomes]
    assert isinstance(mixed.scorer, JudgingScorer)
    assert mixed.scorer.judge([0, 5], [mixed.selection(together[1])] * 2)[1] is not None
    copies = VectorDemoSelection(mixed, 4)
    assert copies.observation_space.contains(copies.reset(seed=0)[0])


def test_problems_that_do_not_fit_are_refused() -> None:
    """Guards a policy that is trained with two sets of rules or two encoders."""
    first, other = planted_problem()[0], planted_problem(shots=1)[0]
    with pytest.raises(UsageError, match="as the first has"):
        mixed_problem([first, other])
    with pytest.raises(UsageError, match="embeddings of 4"):
        mixed_problem([first, planted_problem(width=4)[0]])
    with pytest.raises(EmptyPoolError):
        mixed_problem([])
    judged = mixed_problem([first, planted_problem(seed=1)[0]]).scorer.judge(
        [0], [first.selection(first.start([0])[0])]
    )  # type: ignore[attr-defined]
    assert judged[1] is None
