"""The stage of the main job that trains a policy for one prompt per task; beside those of `policies.stages`."""

from __future__ import annotations

from pathlib import Path

from envs.corpus import CorpusProblem, CorpusScorer, corpus_problem
from envs.queries import training_queries
from policies.corpus_config import CorpusTrainingConfig
from policies.offline_dqn import train_corpus_policy
from policies.runs import RUN_FILE
from policies.stages import embeddings_of, provenance_of_policy, with_rewards
from policies.training_usage import usage_recorded
from selector.progress import SILENT, Progress
from selector.workspace import Workspace


def train_corpus_policy_on(
    workspace: Workspace,
    out: Path,
    *,
    retriever: Path | None,
    config: CorpusTrainingConfig,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Trains a policy that chooses one prompt for the task, rewarded on its reward queries, chosen on its dev queries.

    Args:
        workspace: The workspace.
        out: The run folder.
        retriever: The folder of a trained retriever; None takes the task's encoder.
        config: How to train.
        resume: Whether to go on with what the folder holds.
        progress: Shows episodes and optimiser steps.

    Returns:
        The run folder.

    Raises:
        EmptyPoolError: When the task has no reward query, and too few dev queries to give some away.
        TooFewExamplesError: When the task has reward queries but no dev query.
        UnknownNameError: When the reward is not known.
        UsageError: When the folder holds another run, or one with other labels, scoring or calibration.
    """
    asked = training_queries(workspace.task.reward, workspace.task.dev)
    engine, nearest = workspace.engine, embeddings_of(workspace, retriever)
    rewarded = asked.rewarding[: config.reward_queries]
    problem = corpus_problem(
        engine,
        nearest,
        rewarded,
        config=config.decision(),
        reward=config.reward,
        token_cost=config.token_cost,
        label_names=config.label_names,
        lm_features=config.lm_features,
        task_queries=asked.rewarding,
        seed=config.seed,
    )
    # The candidates, and what the language model says of them, are the same; only the queries differ.
    judge = CorpusScorer(engine, asked.judging, kind=config.reward, token_cost=config.token_cost)
    dev = CorpusProblem(problem.candidates, judge, config.decision(), uncertainty=problem.uncertainty)
    provenance = provenance_of_policy(workspace, nearest, retriever)
    with usage_recorded(out, lambda: engine.lm.usage, marker=RUN_FILE, resume=resume, progress=progress) as counted:
        return train_corpus_policy(
            problem,
            dev,
            out=out,
            config=config,
            provenance=with_rewards(provenance, workspace, rewarded=rewarded, dev=asked.judging),
            queries=(len(rewarded), len(asked.judging)),
            resume=resume,
            progress=counted,
        )
