"""The stages of the main job over a workspace that learn: mine, train the retriever, train the policy.

Comparing is `policies.comparison`. Scripts, the command line and the demo call these, so that a stage means the same
everywhere. They know nothing of terminals; progress is shown by whoever passes a `Progress`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from envs.demonstrations import query_problem
from envs.dynamics import DecisionProblem
from envs.mixed import mixed_problem
from envs.queries import TrainingQueries, training_queries
from policies.epr import train_retriever
from policies.mining import MiningConfig, mine
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import train_policy
from policies.recall import build_recall
from policies.retriever_config import RetrieverTrainingConfig
from policies.runs import RUN_FILE, Provenance
from policies.training_usage import usage_recorded
from selector.data.pool import Pool
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector
from selector.strategies.retriever import RetrieverSelector
from selector.types import Example
from selector.workspace import Workspace

# Neighbours give hard cases, random members the breadth that negatives need.
RECALL = ("nearest", "random")


def mine_candidates(
    workspace: Workspace,
    out: Path,
    *,
    config: MiningConfig,
    recall: Sequence[str] = RECALL,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Mines members of the pool, leave-one-out.

    Args:
        workspace: The workspace.
        out: The mining folder.
        config: What is mined.
        recall: What proposes candidates, in turn; see `policies.recall.build_recall`.
        resume: Whether finished queries are kept.
        progress: Shows queries.

    Returns:
        The folder.
    """
    pool = workspace.task.pool
    selectors = build_recall(recall, pool=pool, encoder=workspace.encoder, seed=config.seed)
    return mine(
        workspace.engine, list(pool), recall=selectors, config=config, out=out, resume=resume, progress=progress
    )


def train_retriever_on(
    workspace: Workspace,
    mined: Path | Sequence[Path],
    out: Path,
    *,
    config: RetrieverTrainingConfig,
    progress: Progress = SILENT,
) -> Path:
    """Trains the retriever from the task's encoder.

    Args:
        workspace: The workspace.
        mined: A mining folder, or several of them.
        out: The retriever's folder.
        config: How to train.
        progress: Shows steps.

    Returns:
        The folder.
    """
    task = workspace.task
    return train_retriever(
        mined,
        task.pool,
        base_encoder=task.encoder.model,
        config=config,
        out=out,
        dev=task.dev,
        labels=task.template.labels,
        names=(task.name, task.lm.model),
        progress=progress,
    )


def train_policy_on(
    workspace: Workspace,
    out: Path,
    *,
    retriever: Path | None,
    config: PolicyTrainingConfig,
    also: Sequence[Workspace] = (),
    limit: int | None = None,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Trains a policy on the task's reward queries over the shortlists of a retriever or of the task's encoder.

    Which queries reward it where the task has no reward queries, `envs.queries.training_queries` says.

    Args:
        workspace: The workspace.
        out: The run folder.
        retriever: The folder of a trained retriever; None takes the task's encoder.
        config: How to train.
        also: Other tasks that reward and judge it too, with the same models; see `Workspace.beside`.
        limit: Use this many reward queries and as many dev queries of each task at most.
        resume: Whether to go on with what the folder holds.
        progress: Shows environment steps.

    Returns:
        The run folder.

    Raises:
        EmptyPoolError: When the task has no reward or no dev query.
        UsageError: When the folder holds another run, or one with other labels, scoring or calibration.
    """
    tasks = [
        _Part(one, training_queries(one.task.reward, one.task.dev), embeddings_of(one, retriever))
        for one in (workspace, *also)
    ]
    lm = workspace.engine.lm
    with usage_recorded(out, lambda: lm.usage, marker=RUN_FILE, resume=resume, progress=progress) as counted:
        return train_policy(
            _problem_over(tasks, "reward", config=config, limit=limit),
            _problem_over(tasks, "dev", config=config, limit=limit),
            out=out,
            config=config,
            provenance=_provenance_over(tasks, retriever, limit=limit),
            resume=resume,
            progress=counted,
        )


class _Part(NamedTuple):
    """One of the tasks that a policy is trained on."""

    workspace: Workspace
    queries: TrainingQueries
    nearest: NearestSelector


def _problem_over(
    tasks: Sequence[_Part], split: str, *, config: PolicyTrainingConfig, limit: int | None
) -> DecisionProblem:
    problems = [
        query_problem(
            one.workspace.engine,
            one.queries.of_split(split)[:limit],
            one.nearest,
            config.decision(),
            reward=config.reward,
            token_cost=config.token_cost,
            at_least=config.shots,
        )
        for one in tasks
    ]
    return problems[0] if len(problems) == 1 else mixed_problem(problems)


def _provenance_over(tasks: Sequence[_Part], retriever: Path | None, *, limit: int | None) -> Provenance:
    """The provenance of the first task, with a fingerprint of the others."""
    own, *others = [
        with_rewards(
            provenance_of_policy(one.workspace, one.nearest, retriever),
            one.workspace,
            rewarded=one.queries.rewarding[:limit],
            dev=one.queries.judging[:limit],
        )
        for one in tasks
    ]
    if not others:
        return own
    content = json.dumps([dict(one.fingerprints) for one in others], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return replace(own, fingerprints={**own.fingerprints, "other tasks": digest})


def embeddings_of(workspace: Workspace, retriever: Path | None) -> NearestSelector:
    """Gives the pool as a retriever, or the task's encoder, embeds it.

    Args:
        workspace: The workspace.
        retriever: The folder of a trained retriever; None takes the task's encoder.

    Returns:
        The pool, its embeddings and their search.
    """
    pool = workspace.task.pool
    return (
        RetrieverSelector.load(retriever, pool) if retriever is not None else NearestSelector(pool, workspace.encoder)
    )


def provenance_of_policy(workspace: Workspace, nearest: NearestSelector, retriever: Path | None) -> Provenance:
    """Says what a policy is trained on.

    Args:
        workspace: The workspace.
        nearest: What `embeddings_of` gave.
        retriever: The folder of a trained retriever, where it was one.

    Returns:
        The provenance.
    """
    task = workspace.task
    return Provenance(
        encoder=str(retriever.resolve()) if retriever is not None else task.encoder.model,
        labelled_demonstrations=nearest.labelled_demonstrations,
        fingerprints={
            "pool": task.pool.fingerprint,
            "template": task.template.fingerprint,
            "encoder": nearest.encoder.fingerprint,
            "language model": workspace.engine.lm.fingerprint,
        },
    )


def with_rewards(
    provenance: Provenance, workspace: Workspace, *, rewarded: Sequence[Example], dev: Sequence[Example]
) -> Provenance:
    """Adds what a policy is paid by: a run whose rewards have changed is another run.

    Args:
        provenance: What the policy is trained on.
        workspace: The workspace.
        rewarded: The labelled queries on which it is rewarded.
        dev: The labelled queries on which its best weights are chosen.

    Returns:
        The provenance with the fingerprints of "reward queries" and "dev queries", gold labels included, and with the
        names of "scoring" and "calibration".
    """
    paid = {
        "reward queries": Pool(rewarded).fingerprint,
        "dev queries": Pool(dev).fingerprint,
        "scoring": workspace.engine.scoring,
        "calibration": workspace.engine.calibration,
    }
    return replace(provenance, fingerprints={**provenance.fingerprints, **paid})
