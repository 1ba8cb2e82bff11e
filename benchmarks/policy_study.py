"""Does reinforcement learning over EPR's shortlist choose better than EPR, and which reward and start make it?

    python -m benchmarks.epr_study --limit 60       trains the retrievers, and lets everything else answer
    python -m benchmarks.policy_study --limit 60    goes on where it was stopped

A policy is rewarded on three quarters of the task's dev queries and chosen on the last quarter; the retriever saw both
only to end its training early. It answers the test queries that the EPR study answered, so that the two can be paired.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.epr_study import HERE, SHOTS, Study
from envs.demonstrations import query_problem
from envs.dynamics import DecisionProblem
from envs.queries import training_queries
from policies.export import export_policy
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import train_policy
from policies.runs import METRICS_FILE
from policies.stages import provenance_of_policy, with_rewards
from selector.progress import RichProgress
from selector.strategies.exported import load_policy
from selector.types import Example

TASKS: Final = ("trec6", "sst2", "agnews", "subj", "cr", "emotion")
DEFAULT: Final = "rl"
# One change at a time from what `training` sets.
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    DEFAULT: {},
    "rl, reward logprob": {"reward": "logprob"},
    "rl, reward margin": {"reward": "margin"},
    "rl, reward accuracy": {"reward": "accuracy"},
    "rl, dense": {"dense": True},
    "rl, no warm start": {"warm_start": "none"},
    "rl, best of two warm starts": {"warm_start": "best-on-dev"},
    "rl, oracle warm start": {"warm_start": "oracle", "warm_start_queries": 24},
    "rl, language-model features": {"lm_features": True},
    "rl, asks of the query": {
        "lm_features": True,
        "lm_view": "query",
        "per_label": SHOTS,
        "warm_start": "best-on-dev",
        "warm_start_queries": 150,
    },
    "rl, 64 candidates": {"shortlist_size": 64},
    "rl, may stop": {"may_stop": True},
    "rl, longer steps": {"learning_rate": 1e-3, "epochs": 10},
}


def training(variant: str, seed: int) -> PolicyTrainingConfig:
    """Gives the settings of a variant: the last step pays all, which costs one prompt an episode.

    Args:
        variant: One of `VARIANTS`.
        seed: The seed.

    Returns:
        The settings.
    """
    settings: dict[str, Any] = {
        "shots": SHOTS,
        "shortlist_size": 32,
        "total_steps": 6144,
        "copies": 16,
        "rollout_steps": 32,
        "batch_size": 128,
        "learning_rate": 3e-4,
        "reward": "probability",
        "dense": False,
        "warm_start": "retriever",
        "evaluate_every": 2,
        "seed": seed,
    }
    return PolicyTrainingConfig(**settings | VARIANTS[variant])


class VariantStudy(Study):
    """A study that trains policies; see `Study`."""

    def _artifact(
        self,
        variant: str,
        room: Path,
        settings: dict[str, Any],
        *,
        answers: Sequence[str],
        learn: Callable[[Path], Any],
    ) -> Path:
        """Trains and exports a variant where that is not done with these settings.

        Args:
            variant: Its name; its cost stands under "training" and the name.
            room: Where the folders of all variants are.
            settings: What the training depends on.
            answers: Rows that depend on it: they are forgotten when it is trained anew.
            learn: Trains into the run folder that it is given.

        Returns:
            The artifact.
        """
        stage, folder = f"training {variant}", room / variant.replace(", ", "-").replace(" ", "-")
        artifact = folder / "artifact"
        finished = stage in self.result["config"] or artifact.is_dir()
        if not self._is_done(stage, folder, settings):
            self._forget_answers(*answers)
            if finished:  # with other settings; what was interrupted goes on
                shutil.rmtree(folder, ignore_errors=True)
            with self._spending(stage):
                learn(folder / "run")
            self._finish(stage, settings)
        if not artifact.is_dir():
            export_policy(folder / "run", artifact)
        return artifact


class PolicyStudy(VariantStudy):
    """One task with one seed; see `Study`."""

    def run_variant(self, variant: str) -> None:
        """Trains, exports and answers what is not done yet.

        Args:
            variant: One of `VARIANTS`.
        """
        retriever = self._retriever.encoder.fingerprint  # another one proposes other candidates
        settings = {"retriever": retriever, **asdict(training(variant, self.seed))}
        artifact = self._artifact(
            variant, self.work / "policies", settings, answers=[variant], learn=lambda run: self._learn(variant, run)
        )
        pool, engine = self.workspace.task.pool, self.workspace.engine

        def answer(queries: Sequence[Example]) -> list[str]:
            return self._ask(load_policy(artifact, pool, engine=lambda: engine), queries)

        self._answer(variant, answer)

    def _learn(self, variant: str, run: Path) -> None:
        config = training(variant, self.seed)
        rewarded, judged = training_queries((), self.workspace.task.dev)  # as where a task has no reward queries
        provenance = provenance_of_policy(self.workspace, self._retriever, self.work / "epr")
        train_policy(
            self._problem(rewarded, config),
            self._problem(judged, config),
            out=run,
            config=config,
            provenance=with_rewards(provenance, self.workspace, rewarded=rewarded, dev=judged),
            progress=RichProgress(),
        )
        lines = (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()
        self.result["metrics"][variant] = [json.loads(line) for line in lines]

    def _problem(self, queries: Sequence[Example], config: PolicyTrainingConfig) -> DecisionProblem:
        rules = config.decision()
        return query_problem(
            self.workspace.engine, queries, self._retriever, rules, reward=config.reward, at_least=config.shots
        )


def main(
    *,
    tasks: Annotated[str, typer.Option(help="Names of tasks.")] = ",".join(TASKS),
    seeds: Annotated[str, typer.Option(help="Seeds of the retrievers, and of training.")] = "0,1,2",
    variants: Annotated[str, typer.Option(help="Variants, parted by semicolons.")] = DEFAULT,
    limit: Annotated[int | None, typer.Option(help="Answer this many test queries at most.")] = None,
    work: Annotated[Path, typer.Option(help="Where retrievers and policies are kept.")] = HERE / ".work" / "epr",
    out: Annotated[Path, typer.Option(help="Where the results go.")] = HERE / "results" / "policies",
    dtype: Annotated[str, typer.Option(help="Of the language model, as in the EPR study.")] = "float32",
) -> None:
    """Runs the study, all tasks with the first seed and variant first."""
    for seed in map(int, seeds.split(",")):
        for variant in variants.split(";"):
            for name in tasks.split(","):
                PolicyStudy(name, seed, limit=limit, work=work, out=out, dtype=dtype).run_variant(variant)


if __name__ == "__main__":
    typer.run(main)
