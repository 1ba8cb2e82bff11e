"""The commands that learn: mine, train-retriever, train-policy, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policies.cli.app import app
from policies.cli.options import (
    EngineOption,
    LimitOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RayAddressOption,
    ResumeOption,
    SeedOption,
    ShotsOption,
    TaskOption,
    print_usage,
    progress_for,
)
from selector.errors import UnknownNameError
from selector.workspace import Workspace

RetrieverOption = Annotated[
    Path | None, typer.Option("--retriever", help="A folder of train-retriever; else the task's encoder.")
]


@app.command()
def mine(
    task: TaskOption,
    out: OutOption,
    candidates: Annotated[int, typer.Option(min=2, help="Candidates scored for each training query.")] = 20,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score candidate demonstrations one-shot with the language model, as labels for the retriever."""
    from policies.mining import MiningConfig
    from policies.stages import mine_candidates

    config = MiningConfig(candidates=candidates, query_limit=limit, seed=seed)
    workspace = Workspace.open(task, use_store=not no_cache, engine=engine, ray_address=ray_address)
    path = mine_candidates(workspace, out, config=config, resume=resume, progress=progress_for(quiet))
    if not quiet:
        print_usage(workspace.usage)
    typer.echo(path)


@app.command("train-retriever")
def train_retriever(
    task: TaskOption,
    mined: Annotated[Path, typer.Option("--mined", help="The folder of `shotsmith mine`.")],
    out: OutOption,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the mined queries.")] = 2,
    batch_size: Annotated[int, typer.Option(min=2, help="Rows in a batch; its other rows are negatives.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = 5e-5,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Train the EPR retriever on mined candidates."""
    from policies.retriever_config import RetrieverTrainingConfig
    from policies.stages import train_retriever_on

    config = RetrieverTrainingConfig(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    folder = train_retriever_on(Workspace.open(task), mined, out, config=config, progress=progress_for(quiet))
    typer.echo(folder)


@app.command("train-policy")
def train_policy(
    task: TaskOption,
    out: OutOption,
    env: Annotated[str, typer.Option("--env", help="The decision problem: per-query.")] = "per-query",
    algo: Annotated[str, typer.Option("--algo", help="The learner: ppo.")] = "ppo",
    retriever: RetrieverOption = None,
    shots: ShotsOption = 4,
    steps: Annotated[int, typer.Option(min=1, help="Environment steps in all.")] = 4096,
    shortlist: Annotated[int, typer.Option(min=1, help="Candidates offered for each query.")] = 16,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a selection policy by reinforcement learning."""
    from policies.ppo import PolicyTrainingConfig
    from policies.stages import train_policy_on

    if env != "per-query":
        raise UnknownNameError("environment", env, known=("per-query",))
    if algo != "ppo":
        raise UnknownNameError("algorithm", algo, known=("ppo",))
    config = PolicyTrainingConfig(shots=shots, shortlist_size=shortlist, total_steps=steps, seed=seed)
    workspace = Workspace.open(task, use_store=not no_cache, engine=engine, ray_address=ray_address)
    run = train_policy_on(
        workspace, out, retriever=retriever, config=config, resume=resume, progress=progress_for(quiet)
    )
    if not quiet:
        print_usage(workspace.usage)
    typer.echo(run)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder of train-policy.")],
    out: OutOption,
) -> None:
    """Write a run's best checkpoint as an artifact that needs neither the learner nor the language model."""
    from policies.export import export_policy

    typer.echo(export_policy(run, out))
