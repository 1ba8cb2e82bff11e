"""The commands that use a policy: select, predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from policies.cli.app import app
from policies.cli.options import (
    AsTrainedOption,
    EngineOption,
    JsonOption,
    NoCacheOption,
    QueriesOption,
    QuietOption,
    RayAddressOption,
    SeedOption,
    TaskOption,
    TextOption,
    check_there,
    print_json,
    progress_for,
    queries_from,
    unless_typed,
)
from selector.errors import UsageError
from selector.pipeline import Pipeline
from selector.prompting.embedding_text import input_text
from selector.strategies.base import Selector
from selector.workspace import Workspace

if TYPE_CHECKING:
    from selector.strategies.exported import ExportedSelector

ArtifactOption = Annotated[
    Path | None,
    typer.Option("--artifact", help="Choose with an exported policy.", callback=unless_typed("method")),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Choose by a method, such as nearest, or by the folder of a trained retriever.",
        callback=unless_typed("artifact"),
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Use the artifact although pool, template or language model are others.")
]
BeamsOption = Annotated[
    int,
    typer.Option(
        "--beams",
        min=1,
        help="Beginnings of a prompt that a per-query policy follows; 1 is greedy.",
        callback=unless_typed("method"),
    ),
]
ShortlistOption = Annotated[
    int | None,
    typer.Option("--shortlist", min=1, help="Candidates that a per-query policy is offered; else as in training."),
]


@app.command()
def select(
    task: TaskOption,
    artifact: Annotated[Path, typer.Option("--artifact", help="A folder written by `shotsmith export`.")],
    text: TextOption = None,
    queries: QueriesOption = None,
    shots: AsTrainedOption = None,
    beams: BeamsOption = 1,
    shortlist: ShortlistOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose demonstrations with an exported policy; needs no language model, unless it reads one."""
    workspace = Workspace.open(task, progress=progress_for(quiet))
    asked = queries_from(workspace.task, text, queries)
    pool = workspace.task.pool
    policy = loaded_policy(workspace, artifact, force=force, beams=beams, shortlist_size=shortlist)
    selections = policy.select(asked, shots_for(policy, shots, quiet=quiet))
    if as_json:
        print_json(
            [
                {
                    "uid": query.uid,
                    "demonstrations": [
                        {"uid": pool[index].uid, "fields": dict(pool[index].fields), "label": pool[index].label}
                        for index in selection.indices
                    ],
                    "indices": list(selection.indices),
                    "scores": list(selection.scores),
                }
                for query, selection in zip(asked, selections, strict=True)
            ]
        )
        return
    console = Console()
    for query, selection in zip(asked, selections, strict=True):
        console.print(f"[bold]{escape(input_text(query))}[/]", highlight=False)
        for place, (index, score) in enumerate(zip(selection.indices, selection.scores, strict=True), start=1):
            shown = f"  {place}. {pool[index].label}: {input_text(pool[index])}"
            console.print(f"{escape(shown)} [dim]({escape(pool[index].uid)}, {score:.3f})[/]", highlight=False)


def check_choice(artifact: Path | None, method: str | None) -> None:
    """Makes sure that one of --artifact and --method says who chooses.

    Args:
        artifact: As given.
        method: As given.

    Raises:
        UsageError: When both or neither are given.
    """
    if (artifact is None) == (method is None):
        raise UsageError(
            f"--artifact is {'missing' if artifact is None else 'given'} and so is --method",
            expected="one of the two",
            remedy="Pass --artifact DIR for a policy, or --method NAME.",
        )


def shots_for(chosen: Selector, typed: int | None, *, quiet: bool) -> int:
    """Tells how many demonstrations are wanted.

    Args:
        chosen: What chooses.
        typed: As many as were asked for.
        quiet: Whether it goes untold that a policy was trained for another number.

    Returns:
        What was asked for, else what the policy was trained for, else 4.
    """
    from selector.strategies.exported import DEFAULT_SHOTS, ExportedSelector

    trained = chosen.artifact.manifest.shots if isinstance(chosen, ExportedSelector) else None
    if typed is not None and trained not in (None, typed) and not quiet:
        typer.echo(f"the policy was trained to choose {trained} demonstrations; {typed} are asked for", err=True)
    return typed if typed is not None else trained or DEFAULT_SHOTS


def loaded_policy(
    workspace: Workspace, artifact: Path, *, force: bool, beams: int = 1, shortlist_size: int | None = None
) -> ExportedSelector:
    """Loads a policy; a per-corpus one that is forced on another task sees what that task's queries are like.

    Args:
        workspace: The task and its models.
        artifact: A folder written by `shotsmith export`.
        force: Whether it is used although it was made for something else.
        beams: See `load_policy`.
        shortlist_size: See `load_policy`.

    Returns:
        The selector.

    Raises:
        ArtifactMismatchError: When it was made for something else and `force` is off.
        UsageError: When the folder is not there, or beams or a shortlist are wanted of a per-corpus policy.
    """
    from selector.strategies.exported import load_policy, queries_of_another_task

    check_there(artifact)
    task = workspace.task
    return load_policy(
        artifact,
        task.pool,
        force=force,
        engine=lambda: workspace.engine,
        beams=beams,
        shortlist_size=shortlist_size,
        task_queries=queries_of_another_task(artifact, task) if force else (),
    )


def chosen_selector(
    workspace: Workspace, artifact: Path | None, method: str | None, *, seed: int, force: bool, beams: int = 1
) -> Selector:
    """Loads the policy or builds the method that chooses demonstrations.

    Args:
        workspace: The task and its models.
        artifact: A folder written by `shotsmith export`, or None.
        method: The name of a method, or None.
        seed: For methods with random choices.
        force: Whether a policy is used although it was made for something else.
        beams: How many beginnings of a prompt a per-query policy follows.

    Returns:
        The selector.

    Raises:
        ArtifactMismatchError: When a policy was made for something else and `force` is off.
        UnknownNameError: When there is no such method.
        UsageError: When the folder is not there, or beams are wanted of what is no per-query policy.
    """
    from selector.strategies.exported import ExportedSelector
    from selector.strategies.named import build_selector

    if artifact is None:
        if beams != 1:
            raise UsageError(
                f"--beams {beams} was given with --method {method}",
                expected="a policy",
                remedy="Pass --artifact DIR, or leave --beams out.",
            )
        task = workspace.task
        chosen = build_selector(
            str(method),
            engine=workspace.engine,
            encoder=workspace.encoder,
            dev=task.dev,
            seed=seed,
            task=task,
            force=force,
        )
    else:
        chosen = loaded_policy(workspace, artifact, force=force, beams=beams)
    if isinstance(chosen, ExportedSelector):
        chosen.check_engine(workspace.engine, force=force)
    return chosen


@app.command()
def predict(
    task: TaskOption,
    text: TextOption = None,
    queries: QueriesOption = None,
    artifact: ArtifactOption = None,
    method: MethodOption = None,
    shots: AsTrainedOption = None,
    seed: SeedOption = 0,
    beams: BeamsOption = 1,
    force: ForceOption = False,
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer queries with demonstrations."""
    check_choice(artifact, method)
    workspace = Workspace.open(
        task, use_store=not no_cache, engine=engine, ray_address=ray_address, progress=progress_for(quiet)
    )
    asked = queries_from(workspace.task, text, queries)
    chosen = chosen_selector(workspace, artifact, method, seed=seed, force=force, beams=beams)
    wanted = shots_for(chosen, shots, quiet=quiet)
    predictions = Pipeline(chosen, workspace.engine).predict(asked, wanted)
    if as_json:
        print_json(
            [
                {
                    "uid": query.uid,
                    "label": prediction.label,
                    "probabilities": prediction.probabilities,
                    **({"text": prediction.text} if prediction.text else {}),
                    "demonstrations": [workspace.task.pool[index].uid for index in prediction.selection.indices],
                }
                for query, prediction in zip(asked, predictions, strict=True)
            ]
        )
        return
    console = Console()
    for query, prediction in zip(asked, predictions, strict=True):
        # A written answer has no probability.
        share = f"{prediction.probabilities[prediction.label]:.2f}" if prediction.scores else ""
        answer = f"[bold]{escape(prediction.label)}[/] [dim]{share}[/]"
        console.print(f"{answer}  {escape(input_text(query))}", highlight=False)
