"""The whole story on bundled real data and models, small enough for two cores and a coffee.

Mine, train the retriever, train the policy, export it, load it again in a fresh process, and compare what was learned
with what needs no learning. Every stage is resumable: run again, finished work is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from policies.comparison import ComparisonOutcome, ComparisonPlan, compare_methods
from policies.export import export_policy
from policies.mining import MiningConfig
from policies.policy_config import PolicyTrainingConfig
from policies.retriever_config import RetrieverTrainingConfig
from policies.stages import mine_candidates, train_policy_on, train_retriever_on
from selector.errors import ShotsmithError
from selector.evaluation.results import shown_verdict
from selector.evaluation.tables import result_table
from selector.progress import SILENT, Progress
from selector.prompting.embedding_text import input_text
from selector.strategies.learned import LearnedSelector
from selector.strategies.retriever import CARD_FILE
from selector.workspace import Workspace

TASK = "rotten-tomatoes"
# What a fresh process runs: it selects with the artifact and tells which libraries that took.
FRESH_PROCESS = """
import json, sys
from selector.data.task import Task
from selector.strategies.learned import LearnedSelector
task = Task.load(sys.argv[1])
selections = LearnedSelector.load(sys.argv[2], task.pool).select(task.test[: int(sys.argv[3])], int(sys.argv[4]))
unwanted = [name for name in ("stable_baselines3", "sb3_contrib", "gymnasium") if name in sys.modules]
print(json.dumps({"indices": [selection.indices for selection in selections], "unwanted": unwanted}))
"""


@dataclass(frozen=True)
class DemoConfig:
    """How much of everything the demo does.

    Attributes:
        shots: Demonstrations in each prompt.
        queries: Test queries compared on.
        mined: Training queries mined.
        candidates: Candidates scored for each of them.
        retriever_epochs: Rows that the retriever is trained on for each member of the pool.
        reward_queries: Queries on which the policy is rewarded, and as many dev queries at most.
        steps: Environment steps of policy training.
        shortlist: Candidates that the policy chooses from.
        search_queries: Dev queries of best-of-k.
        permutations: Orders tried by the entropy orderer.
        probes: Unlabelled inputs it tries them on.
        seed: Seeds everything.
    """

    shots: int = 3
    queries: int = 48
    mined: int = 64
    candidates: int = 8
    retriever_epochs: int = 1
    reward_queries: int = 32
    steps: int = 384
    shortlist: int = 12
    search_queries: int = 24
    permutations: int = 3
    probes: int = 2
    seed: int = 0


def run_demo(out: Path, *, config: DemoConfig, console: Console, progress: Progress = SILENT) -> ComparisonOutcome:
    """Runs the demo.

    Args:
        out: The folder for everything it makes.
        config: How much of everything.
        console: Where it tells the story.
        progress: Shows the progress of each stage.

    Returns:
        The comparison at its end.

    Raises:
        ShotsmithError: When the fresh process selects otherwise than this one.
    """
    started = time.monotonic()
    workspace = Workspace.open(TASK)
    task = workspace.task
    console.print(
        f"[bold]shotsmith demo[/]: {len(task.pool)} labelled reviews, {task.lm.model}, {task.encoder.model}. "
        f"Everything goes to {escape(str(out))}.",
        highlight=False,
    )
    with _stage(console, "load the language model (converted once, then kept)"):
        _ = workspace.engine
    retriever, artifact = _learn(workspace, out, config=config, console=console, progress=progress)
    with _stage(console, "load the exported policy in a fresh process"):
        same = check_fresh_process(workspace, artifact, config)
        console.print(
            f"  {same} of {same} selections are identical there, without stable_baselines3, gymnasium and "
            "language model",
            highlight=False,
        )
    with _stage(console, f"compare on {config.queries} held-out queries"):
        plan = comparison_plan(config, retriever, artifact)
        outcome = compare_methods(workspace, out, plan=plan, command="shotsmith demo", progress=progress)
    _tell(console, workspace, outcome, artifact)
    console.print(f"finished in {(time.monotonic() - started) / 60:.1f} minutes", highlight=False)
    return outcome


def _learn(
    workspace: Workspace, out: Path, *, config: DemoConfig, console: Console, progress: Progress
) -> tuple[Path, Path]:
    """Mines, trains the retriever, trains the policy and exports it; gives the folders of retriever and artifact."""
    engine, retriever = workspace.engine, out / "epr"
    before = engine.lm.usage
    with _stage(console, f"mine {config.mined} queries with {config.candidates} candidates each"):
        mining = MiningConfig(candidates=config.candidates, query_limit=config.mined, seed=config.seed)
        mined = mine_candidates(workspace, out / "mined", config=mining, progress=progress)
    mining_tokens = (engine.lm.usage - before).tokens
    with _stage(console, "train the retriever on what was mined, and on the labels of the rest"):
        if not (retriever / CARD_FILE).is_file():
            training = RetrieverTrainingConfig(epochs=config.retriever_epochs, seed=config.seed)
            train_retriever_on(workspace, mined, retriever, config=training, progress=progress)
    before = engine.lm.usage
    with _stage(console, "train the policy by reinforcement learning, and export it"):
        run = train_policy_on(
            workspace,
            out / "policy-run",
            retriever=retriever,
            config=policy_config(config),
            limit=config.reward_queries,
            progress=progress,
        )
        artifact = export_policy(run, out / "rl")
    policy_tokens = (engine.lm.usage - before).tokens
    console.print(
        f"  training asked for {mining_tokens:,} tokens (mining) and {policy_tokens:,} tokens (policy) in this run",
        highlight=False,
    )
    return retriever, artifact


def comparison_plan(config: DemoConfig, retriever: Path, artifact: Path) -> ComparisonPlan:
    """Gives the demo's comparison: baselines, what was learned, and LM-free references.

    Args:
        config: The demo's configuration.
        retriever: The folder of the trained retriever.
        artifact: The folder of the exported policy.

    Returns:
        The plan.
    """
    return ComparisonPlan(
        methods=(
            *("random", "bm25", "nearest", "best-of-k", str(retriever), str(artifact), f"{artifact}+locale"),
            *("label-vote", "logreg", "majority"),
        ),
        shots=config.shots,
        seeds=(config.seed,),
        limit=config.queries,
        permutations=config.permutations,
        probes=config.probes,
        dev_limit=config.search_queries,
    )


def policy_config(config: DemoConfig) -> PolicyTrainingConfig:
    """Gives the demo's small policy training: rewarded at the end of an episode, which costs the least.

    Args:
        config: The demo's configuration.

    Returns:
        The training configuration.
    """
    return PolicyTrainingConfig(
        shots=config.shots,
        shortlist_size=config.shortlist,
        total_steps=config.steps,
        copies=16,
        rollout_steps=8,
        batch_size=64,
        learning_rate=1e-3,
        reward="probability",
        dense=False,
        warm_start="none",
        evaluate_every=3,
        similarity_weight=20.0,
        seed=config.seed,
    )


def check_fresh_process(workspace: Workspace, artifact: Path, config: DemoConfig) -> int:
    """Makes sure that a fresh process selects as this one does, without the learners.

    Args:
        workspace: The workspace.
        artifact: The exported policy.
        config: The demo's configuration.

    Returns:
        How many selections were compared.

    Raises:
        ShotsmithError: When they differ, or a learner was imported.
    """
    queries = workspace.task.test[: config.queries]
    here = LearnedSelector.load(artifact, workspace.task.pool).select(queries, config.shots)
    command = [sys.executable, "-c", FRESH_PROCESS, TASK, str(artifact), str(config.queries), str(config.shots)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ.copy())  # noqa: S603
    if done.returncode:
        raise ShotsmithError(
            f"the fresh process failed ({(done.stderr.strip() or 'no message').splitlines()[-1]})",
            expected="the selections of this process",
            remedy="Run `shotsmith doctor`.",
        )
    there = json.loads(done.stdout.splitlines()[-1])
    if there["unwanted"] or [list(selection.indices) for selection in here] != there["indices"]:
        raise ShotsmithError(
            f"the fresh process selects otherwise, or imported {there['unwanted']}",
            expected="the same selections without the learners",
            remedy="Export the policy again.",
        )
    return len(here)


@contextmanager
def _stage(console: Console, what: str) -> Iterator[None]:
    console.print(f"[bold cyan]>[/] {what}", highlight=False)
    start = time.monotonic()
    yield
    console.print(f"  [dim]{time.monotonic() - start:.0f} s[/]", highlight=False)


def _tell(console: Console, workspace: Workspace, outcome: ComparisonOutcome, artifact: Path) -> None:
    console.print(result_table(outcome.comparison))
    console.print(shown_verdict(outcome.comparison), highlight=False, markup=False)
    row = next(row for row in outcome.comparison.rows if row.method == artifact.name)
    pool = {example.uid: example for example in workspace.task.pool}
    query, answer = workspace.task.test[0], row.outcomes[0]
    console.print(f"\n[bold]What {artifact.name} shows for one query[/], in prompt order:", highlight=False)
    for place, uid in enumerate(answer.demonstrations, start=1):
        console.print(f"  {place}. {pool[uid].label}: {escape(input_text(pool[uid]))}", highlight=False, style="dim")
    console.print(
        f"  query: {escape(input_text(query))}\n  answer: {answer.predicted} (gold: {answer.gold})\n", highlight=False
    )
    for name, path in (("report", outcome.report), ("results", outcome.results_file), ("artifact", artifact)):
        console.print(f"{name}: {escape(str(path))}", highlight=False, soft_wrap=True)
