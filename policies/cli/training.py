"""The commands around the retriever, and export: mine, train-retriever, index, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policies.cli.app import app
from policies.cli.options import (
    EngineOption,
    JsonOption,
    LimitOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RayAddressOption,
    ResumeOption,
    SeedOption,
    TaskOption,
    check_there,
    print_folder,
    print_json,
    print_usage,
    progress_for,
)
from policies.label_rule import LabelRule
from policies.retriever_config import ROWS, RetrieverTrainingConfig
from selector.workspace import Workspace

TRAINING = RetrieverTrainingConfig()


@app.command()
def mine(
    task: TaskOption,
    out: OutOption,
    candidates: Annotated[int, typer.Option(min=2, help="Candidates scored for each training query.")] = 8,
    recall: Annotated[
        str,
        typer.Option(
            help="What proposes candidates, in turn: nearest, random, bm25, bm25-output, or folders of retrievers "
            "(iterated mining)."
        ),
    ] = "nearest,random",
    context: Annotated[int, typer.Option(min=0, help="Demonstrations before each candidate when it is scored.")] = 0,
    storage: Annotated[str, typer.Option(help="jsonl or parquet.")] = "jsonl",
    limit: LimitOption = 100,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score candidate demonstrations with the language model, as labels for the retriever."""
    from policies.mining import MiningConfig
    from policies.stages import mine_candidates

    config = MiningConfig(candidates=candidates, query_limit=limit, context=context, storage=storage, seed=seed)
    workspace = Workspace.open(
        task, use_store=not no_cache, engine=engine, ray_address=ray_address, progress=progress_for(quiet)
    )
    names = [name.strip() for name in recall.split(",") if name.strip()]
    folder = mine_candidates(workspace, out, config=config, recall=names, resume=resume, progress=progress_for(quiet))
    if not quiet:
        print_usage(workspace.usage)
    print_folder(folder, as_json=as_json, usage=workspace.usage)


MinedOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--mined", help="A folder of `shotsmith mine`; several times for several rounds, left out for labels alone."
    ),
]
RuleOption = Annotated[str, typer.Option(help="Which candidates are good: top-bottom, threshold or all.")]
PositivesOption = Annotated[int, typer.Option(min=1, help="Good candidates of a query, at most.")]
NegativesOption = Annotated[int, typer.Option(min=1, help="Bad candidates of a query, at most.")]
ThresholdOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="The gold label's probability from which --rule threshold says good.")
]
DistillationOption = Annotated[
    float, typer.Option(min=0.0, help="Weight of the divergence from the language model's scores.")
]
TeacherOption = Annotated[float, typer.Option(help="Temperature of those scores, nats.")]
HardNegativesOption = Annotated[int, typer.Option(min=1, help="Bad candidates of its own in each row.")]
EncodersOption = Annotated[int, typer.Option(min=1, max=2, help="2 for queries and demonstrations apart.")]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, help=f"Passes over the training queries, at most; else about {ROWS:,} rows.")
]
PatienceOption = Annotated[
    int, typer.Option(min=1, help="Evaluations without a better result on dev until training ends.")
]
BatchSizeOption = Annotated[int, typer.Option(min=2, help="Rows in a batch; its other rows are negatives.")]


@app.command("train-retriever")
def train_retriever(
    task: TaskOption,
    out: OutOption,
    mined: MinedOption = None,
    epochs: EpochsOption = TRAINING.epochs,
    evaluations: Annotated[int, typer.Option(min=1, help="How often dev judges, at least.")] = TRAINING.evaluations,
    patience: PatienceOption = TRAINING.patience,
    batch_size: BatchSizeOption = TRAINING.batch_size,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = TRAINING.learning_rate,
    rule: RuleOption = TRAINING.rule.name,
    positives: PositivesOption = TRAINING.rule.positives,
    negatives: NegativesOption = TRAINING.rule.negatives,
    threshold: ThresholdOption = TRAINING.rule.threshold,
    unscored: Annotated[
        int, typer.Option(min=0, help="Members of the pool without scores to train on by their labels, at most.")
    ] = TRAINING.unscored,
    contrastive: Annotated[float, typer.Option(min=0.0, help="Weight of the contrastive loss.")] = TRAINING.contrastive,
    distillation: DistillationOption = TRAINING.distillation,
    teacher_temperature: TeacherOption = TRAINING.teacher_temperature,
    hard_negatives: HardNegativesOption = TRAINING.hard_negatives,
    encoders: EncodersOption = TRAINING.encoders,
    labelled_demonstrations: Annotated[
        bool, typer.Option("--labelled-demonstrations/--plain-demonstrations", help="Embed them with their label.")
    ] = TRAINING.labelled_demonstrations,
    max_seq_length: Annotated[
        int | None, typer.Option(min=1, help="Longest text, tokens; else what the encoder reads.")
    ] = TRAINING.max_seq_length,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the EPR retriever on mined candidates; an interrupted training goes on when it is called again."""
    from policies.stages import train_retriever_on

    config = RetrieverTrainingConfig(
        epochs=epochs,
        evaluations=evaluations,
        patience=patience,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rule=LabelRule(rule, positives=positives, negatives=negatives, threshold=threshold),
        hard_negatives=hard_negatives,
        unscored=unscored,
        contrastive=contrastive,
        distillation=distillation,
        teacher_temperature=teacher_temperature,
        encoders=encoders,
        labelled_demonstrations=labelled_demonstrations,
        max_seq_length=max_seq_length,
        seed=seed,
    )
    folder = train_retriever_on(Workspace.open(task), mined or [], out, config=config, progress=progress_for(quiet))
    print_folder(folder, as_json=as_json)


@app.command()
def index(
    task: TaskOption,
    retriever: Annotated[Path, typer.Option("--retriever", help="A folder of train-retriever.")],
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Embed all again: where the index there cannot be read.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Embed the pool once and keep the index in the retriever's folder; it follows a pool that has changed."""
    from selector.strategies.retriever import RetrieverSelector

    check_there(retriever)
    selector = RetrieverSelector.load(retriever, Workspace.open(task).task.pool, use_index=not rebuild)
    selector.save_index(retriever)
    if as_json:
        print_json({"folder": str(retriever), "demonstrations": len(selector.index), "kind": selector.index.kind})
        return
    typer.echo(f"{retriever}: {len(selector.index):,} demonstrations, {selector.index.kind} index")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder of train-policy.")],
    out: OutOption,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a run's best checkpoint as an artifact that needs no learner, nor, by default, the language model."""
    from policies.export import export_policy

    check_there(run)
    print_folder(export_policy(run, out), as_json=as_json)
