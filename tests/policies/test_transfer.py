"""Tests of a policy that is trained on several tasks and used on another."""

from __future__ import annotations

from pathlib import Path

from envs.dynamics import DecisionProblem
from envs.mixed import mixed_problem
from envs.planted import optimal_returns, planted_problem, random_returns
from policies.planted_study import permutation_p
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import evaluate_on, train_policy
from policies.runs import Provenance, read_best
from selector.learned.rollout import greedy_rollout

PROVENANCE = Provenance("planted", labelled_demonstrations=False, fingerprints={})


def test_a_policy_trained_on_two_tasks_serves_a_third(tmp_path: Path) -> None:
    """Guards transfer: what tasks share is learned, not their pools; a task that shares nothing is not served."""

    def task(seed: int, *, relation: int = 7) -> DecisionProblem:
        return planted_problem(queries=48, size=8, width=3, seed=seed, relation_seed=relation)[0]

    mixed = mixed_problem([task(1), task(2)])
    config = PolicyTrainingConfig(
        shots=2,
        shortlist_size=8,
        total_steps=1024,
        copies=32,
        rollout_steps=16,
        batch_size=128,
        learning_rate=3e-3,
        similarity_weight=0.0,
        dense=True,
        warm_start="oracle",
        warm_start_epochs=30,
    )
    run = train_policy(mixed, mixed, out=tmp_path / "run", config=config, provenance=PROVENANCE)
    network = read_best(run).network
    third, stranger = task(3), task(3, relation=8)
    selections = greedy_rollout(network, third.shortlists, size=8, horizon=2, may_stop=False)
    learned = third.scorer.potentials(range(48), selections)
    assert learned.mean() >= 0.55 * optimal_returns(third).mean()
    assert permutation_p(learned, random_returns(third, episodes=50, seed=0)) < 0.01
    assert evaluate_on(stranger, network)["potential"] < 0.3 * optimal_returns(stranger).mean()
