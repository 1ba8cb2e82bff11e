"""Whether masked PPO learns at all: the planted problem, its brute-forced optimum, and a permutation test.

python -m policies.planted_study --out planted.json
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from envs.planted import optimal_returns, planted_problem, random_returns
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import train_policy
from policies.runs import Provenance, read_best
from selector.learned.rollout import greedy_rollout

Returns = npt.NDArray[np.float64]


def permutation_p(first: Returns, second: Returns, *, rounds: int = 10_000, seed: int = 0) -> float:
    """Tests by sign flips of paired differences whether the first is not larger on the mean (Fisher, 1935).

    Args:
        first: (N,) values.
        second: (N,) values paired with them.
        rounds: Random sign flips.
        seed: Seeds them.

    Returns:
        The one-sided p.
    """
    differences = first - second
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(rounds, len(differences)))
    reached = int(((signs * differences).mean(axis=1) >= differences.mean()).sum())
    return (reached + 1) / (rounds + 1)


def run_planted_study(*, seed: int = 0, steps: int = 24_576) -> dict[str, float]:
    """Trains on the planted problem and compares with its optimum and with random choices.

    Args:
        seed: Seeds problem and training.
        steps: Environment steps.

    Returns:
        Mean returns `learned`, `optimum`, `random`; `share` of the optimum; `p` against random.
    """
    problem, _ = planted_problem(seed=seed)
    config = PolicyTrainingConfig(
        shots=problem.config.shots,
        shortlist_size=problem.config.size,
        total_steps=steps,
        copies=24,
        rollout_steps=16,
        batch_size=128,
        epochs=6,
        learning_rate=3e-3,
        dense=True,
        warm_start="none",
        similarity_weight=0.0,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        provenance = Provenance("planted", labelled_demonstrations=False, fingerprints={})
        run = train_policy(problem, problem, out=Path(folder) / "run", config=config, provenance=provenance)
        network = read_best(run).network
    selections = greedy_rollout(
        network, problem.shortlists, size=problem.config.size, horizon=problem.config.shots, may_stop=False
    )
    numbers = range(len(selections))
    learned = problem.scorer.potentials(numbers, selections)
    optimum, chance = optimal_returns(problem), random_returns(problem, episodes=200, seed=seed)
    return {
        "learned": float(learned.mean()),
        "optimum": float(optimum.mean()),
        "random": float(chance.mean()),
        "share": float(learned.mean() / optimum.mean()),
        "p": permutation_p(learned, chance),
    }


def main(
    out: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 3,
) -> None:
    """Runs the study for several seeds and prints the figures."""
    figures = {str(seed): run_planted_study(seed=seed) for seed in range(seeds)}
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
