"""The command that looks into an answer: explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.cli.answering import ArtifactOption, ForceOption, MethodOption, check_choice, chosen_selector, shots_for
from policies.cli.app import app
from policies.cli.options import (
    AsTrainedOption,
    JsonOption,
    NoCacheOption,
    QueriesOption,
    QuietOption,
    SeedOption,
    TaskOption,
    TextOption,
    check_writable,
    print_json,
    progress_for,
    queries_from,
)
from selector.data.loading import load_examples, rows_of
from selector.errors import InvalidExampleError, UnreadAnswerError, UsageError
from selector.inspection.effects import Explanation, explain
from selector.prompting.embedding_text import input_text
from selector.types import Example
from selector.workspace import Workspace

if TYPE_CHECKING:
    from selector.inspection.attention import AttentionMass, Shares

SHOWN_HEADS = 5


@app.command("explain")
def explain_command(
    task: TaskOption,
    text: TextOption = None,
    queries: QueriesOption = None,
    artifact: ArtifactOption = None,
    method: MethodOption = None,
    gold: Annotated[str, typer.Option(help="With --text: the label to explain; else the predicted one.")] = "",
    shots: AsTrainedOption = None,
    attention: Annotated[
        bool, typer.Option("--attention/--no-attention", help="Read the model's attention and induction heads.")
    ] = True,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a self-contained HTML page here.")] = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what each demonstration does to an answer, and where the language model looks."""
    from selector.inspection.attention import attention_mass, model_induction_scores
    from selector.inspection.page import page
    from selector.lm.attention import attention_reader

    check_choice(artifact, method)
    check_writable(plot)
    workspace = Workspace.open(task, use_store=not no_cache, progress=progress_for(quiet))
    asked = _labelled(workspace, queries_from(workspace.task, text, queries), queries, gold)
    engine = workspace.engine
    reader = attention_reader(engine.lm) if attention else None  # refused before the long work
    chosen = chosen_selector(workspace, artifact, method, seed=seed, force=force)
    wanted = shots_for(chosen, shots, quiet=quiet)
    found, masses = [], []
    with progress_for(quiet).track("explain", len(asked)) as advance:
        for query, selection in zip(asked, chosen.select(asked, wanted), strict=True):
            advance(1)
            try:
                own = explain(engine, query, selection)
            except UnreadAnswerError as error:
                if len(asked) == 1:
                    raise
                typer.echo(f"left out: {error}", err=True)
                continue
            found.append(own)
            if attention:
                masses.append(attention_mass(engine, query, own.selection))
    induction = model_induction_scores(reader, seed=seed) if reader is not None else None
    if plot is not None:
        plot.write_text(page(f"Explanations: {workspace.task.name}", found, masses, induction), encoding="utf-8")
    if as_json:
        print_json(_as_json(found, masses, induction))
        return
    _print(found, masses, induction)


def _labelled(workspace: Workspace, asked: list[Example], file: Path | None, gold: str) -> list[Example]:
    """Gives queries their gold label where it is known: from --gold, or from a file with a label column."""
    if gold and file is not None:
        raise UsageError(
            "--gold is given with --queries",
            expected="--gold with --text alone",
            remedy="Give the file a column of labels.",
        )
    if gold:
        asked = [replace(query, label=gold) for query in asked]
    elif file is not None:
        try:
            task = workspace.task
            asked = load_examples(
                file,
                inputs=task.input_columns,
                label=task.label_column,
                split="query",
                choices=task.choice_columns,
            )
        except InvalidExampleError:
            labels = [str(row.get(task.label_column) or "").strip() for _, row in rows_of(file)]
            if "" not in labels:
                raise
            if known := len(labels) - labels.count(""):
                typer.echo(f"{file}: {known} rows have a label and others none, so all are shown without", err=True)
            return asked  # predictions are explained
    for query in asked:
        workspace.task.template.check(query)
    return asked


def _as_json(found: Sequence[Explanation], masses: Sequence[AttentionMass], induction: Shares | None) -> dict[str, Any]:
    explanations = []
    for number, own in enumerate(found):
        entry: dict[str, Any] = {
            "uid": own.query.uid,
            "predicted": own.predicted,
            "explained": own.explained,
            "gold": own.gold,
            "logprob": own.logprob,
            "zero_shot": own.zero_shot,
            "demonstrations": [
                asdict(one) | {"fields": dict(one.fields), "flip": one.flip, "place_range": one.place_range}
                for one in own.effects
            ],
        }
        if masses:
            own_mass = masses[number]
            entry["attention"] = {
                "demonstrations": own_mass.demonstrations.round(6).tolist(),
                "query": own_mass.query.round(6).tolist(),
                "beginning": own_mass.beginning.round(6).tolist(),
            }
        explanations.append(entry)
    return {"explanations": explanations, "induction": None if induction is None else induction.round(6).tolist()}


def _print(found: Sequence[Explanation], masses: Sequence[AttentionMass], induction: Shares | None) -> None:
    console = Console()
    for number, own in enumerate(found):
        console.print(f"[bold]{escape(input_text(own.query))}[/]", highlight=False)
        kind = "gold" if own.gold else "predicted"
        line = f"answer {own.predicted}; explained: {own.explained} ({kind}), {own.logprob:.3f} nats, "
        console.print(escape(f"{line}{own.zero_shot:.3f} without demonstrations"), highlight=False)
        table = Table()
        for name in ("", "label", "influence", "own label", "range", "best place"):
            table.add_column(name, justify="left" if name == "label" else "right", no_wrap=True)
        if masses:
            table.add_column("attention", justify="right", no_wrap=True)
        for place, one in enumerate(own.effects):
            cells = [f"{place + 1}", escape(one.label), f"{one.influence:+.3f}", f"{one.flip:+.3f}"]
            cells += [f"{one.place_range:.3f}", f"{one.best_place + 1}"]
            if masses:
                cells.append(f"{masses[number].demonstrations[:, place].mean():.1%}")
            table.add_row(*cells)
            console.print(escape(f"  {place + 1}. {one.label}: {' / '.join(one.fields.values())}"), highlight=False)
        console.print(table)
    if induction is not None:
        layers, heads = induction.shape
        best = sorted(((float(induction[at]), at) for at in _places(layers, heads)), reverse=True)[:SHOWN_HEADS]
        shown = ", ".join(f"layer {layer} head {head} {score:.2f}" for score, (layer, head) in best)
        console.print(f"induction heads, strongest of {layers * heads}: {shown}", highlight=False)


def _places(layers: int, heads: int) -> list[tuple[int, int]]:
    return [(layer, head) for layer in range(layers) for head in range(heads)]
