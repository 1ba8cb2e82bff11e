"""The commands that write prompts: instruct, generate-demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.cli.app import app
from policies.cli.options import (
    JsonOption,
    LimitOption,
    NoCacheOption,
    QueriesOption,
    QuietOption,
    SeedOption,
    ShotsOption,
    TaskOption,
    TextOption,
    check_writable,
    print_json,
    print_usage,
    progress_for,
    queries_from,
    refuse_typed,
)
from policies.cli.settings import SettingsOption, settings_from
from selector.data.loading import load_examples
from selector.errors import DataFileError
from selector.pipeline import Pipeline
from selector.prompting.generation import GeneratedSelector, GenerationConfig, generate_demonstrations
from selector.prompting.generation_file import GenerationFile
from selector.prompting.instructions import (
    BY_HAND,
    INDUCED,
    InductionConfig,
    check_judge,
    induce_instructions,
    rank_instructions,
)
from selector.prompting.mutual_information import TemplateScore, load_templates, rank_templates
from selector.types import Example, Selection
from selector.workspace import Workspace

OF_INSTRUCTIONS: Final = ("instructions", "sets", "per_set", "examples", "by", "others")


@app.command()
def instruct(
    context: typer.Context,
    task: TaskOption,
    instructions: Annotated[
        Path | None, typer.Option("--instructions", help="A text file of instructions, one a line, ranked too.")
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option("--templates", help="JSONL of templates; ranks them without labels, by mutual information."),
    ] = None,
    queries: QueriesOption = None,
    sets: Annotated[int, typer.Option("--sets", min=0, help="Demonstration sets; 0 induces nothing.")] = 4,
    per_set: Annotated[int, typer.Option("--per-set", min=1, help="Proposals for each set.")] = 2,
    examples: Annotated[int, typer.Option("--examples", min=1, help="Demonstrations in a set.")] = 5,
    by: Annotated[str, typer.Option("--by", help="What ranks instructions: accuracy or gold (log-probability).")] = (
        "accuracy"
    ),
    shots: ShotsOption = 0,
    method: Annotated[str, typer.Option("--method", help="Chooses the shots behind the instruction.")] = "random",
    others: SettingsOption = None,
    limit: LimitOption = 50,
    seed: SeedOption = 0,
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find an instruction on dev queries, or with --templates a template on unlabelled ones."""
    _refuse_idle(context, templates, shots)
    check_judge(by)
    typed = InductionConfig(sets=sets, per_set=per_set, shots=examples, seed=seed)
    config, progress = replace(typed, **settings_from(others, InductionConfig)), progress_for(quiet)
    workspace = Workspace.open(task, use_store=not no_cache, progress=progress)
    engine = workspace.engine
    if templates is not None:
        given = load_templates(templates, engine.template)
        asked = _unlabelled(workspace, queries)[:limit]
        shown = _shown(workspace, asked, shots, method=method, seed=seed)
        ranked = rank_templates(engine, [engine.template, *given], asked, selections=shown, progress=progress)
        rows = [_template_row(one) for one in ranked]
        _print(rows, {"templates": rows}, as_json=as_json)
    else:
        dev = workspace.task.dev[:limit]
        shown = _shown(workspace, dev, shots, method=method, seed=seed)
        candidates = dict.fromkeys(_lines(instructions), BY_HAND)
        for own in filter(None, (engine.template.instruction, workspace.task.instruction)):
            candidates.setdefault(own, BY_HAND)
        induction = induce_instructions(engine, config=config, progress=progress)
        for instruction in induction.instructions:
            candidates.setdefault(instruction, INDUCED)
        found = rank_instructions(engine, candidates, dev, by=by, selections=shown, progress=progress)
        ranking = [asdict(one) for one in found]
        cost = {"proposals": [asdict(one) for one in induction.proposals], "induction_usage": asdict(induction.usage)}
        _print(ranking, {"ranking": ranking, **cost}, as_json=as_json)
        refused = len(induction.proposals) - len(induction.instructions)
        if refused and not as_json:
            typer.echo(f"{refused} of {len(induction.proposals)} proposals were refused; --json shows why")
    if not quiet:
        print_usage(workspace.usage)


def _refuse_idle(context: typer.Context, templates: Path | None, shots: int) -> None:
    """Refuses options of `instruct` that do nothing in its search, or without demonstrations."""
    if templates is None:
        refuse_typed(context, ["queries"], beside="no --templates", belongs="with --templates")
    else:
        refuse_typed(context, OF_INSTRUCTIONS, beside="--templates", belongs="without --templates")
    if shots == 0:
        refuse_typed(context, ["method"], beside="--shots 0", belongs="with --shots 1 or more")


@app.command("generate-demonstrations")
def generate_demonstrations_command(
    task: TaskOption,
    text: TextOption = None,
    queries: QueriesOption = None,
    per_label: Annotated[int, typer.Option("--per-label", min=1, help="Demonstrations for each query and label.")] = 1,
    tries: Annotated[int, typer.Option("--tries", min=1, help="How often each is tried.")] = 3,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the sampling.")] = 0.7,
    shots: ShotsOption = 4,
    share: Annotated[
        int | None, typer.Option("--share", min=0, help="How many of them are generated; else half.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="Retrieves the others; none adds none.")] = "nearest",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="JSONL that takes what is written at once; a stopped run goes on from it."),
    ] = None,
    others: SettingsOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let the language model write demonstrations for queries, mix them with retrieved ones, and answer."""
    from selector.strategies.named import build_selector

    config = GenerationConfig(per_label=per_label, tries=tries, temperature=temperature, seed=seed)
    config = replace(config, **settings_from(others, GenerationConfig))
    check_writable(out)
    progress = progress_for(quiet)
    workspace = Workspace.open(task, use_store=not no_cache, progress=progress)
    asked = queries_from(workspace.task, text, queries)[:limit]
    retriever = None
    if method != "none":
        retriever = build_selector(
            method, engine=workspace.engine, encoder=workspace.encoder, dev=workspace.task.dev, seed=seed
        )
    kept = GenerationFile(out, _generation_run(workspace, config)) if out else None
    generated = generate_demonstrations(workspace.engine, asked, config=config, kept=kept, progress=progress)
    mixed = GeneratedSelector(generated, retriever, share=share)
    predictions = Pipeline(mixed, generated.engine).predict(asked, shots)
    pool = generated.engine.pool
    shown = [
        {
            "uid": query.uid,
            "fields": dict(query.fields),
            "label": prediction.label,
            "demonstrations": [_row(pool[index]) for index in prediction.selection.indices],
            "generated": [_row(pool[index]) for index in generated.positions[query.uid]],
        }
        for query, prediction in zip(asked, predictions, strict=True)
    ]
    if as_json:
        print_json({"queries": shown, "refused": generated.refused, "usage": asdict(generated.usage)})
    else:
        _show_generated(shown, generated.refused)
    if not quiet:
        print_usage(workspace.usage)


def _template_row(one: TemplateScore) -> dict[str, Any]:
    return {
        "place": one.place,
        "template": one.template.template,
        "instruction": one.template.instruction,
        "mutual_information": one.mutual_information,
        "answer_entropy": one.answer_entropy,
        "conditional_entropy": one.conditional_entropy,
        "usage": asdict(one.usage),
    }


def _generation_run(workspace: Workspace, config: GenerationConfig) -> dict[str, Any]:
    """What demonstrations depend on beside their query."""
    task = workspace.task
    return {
        "config": asdict(config),
        "pool": task.pool.fingerprint,
        "near_duplicates": task.pool.near_duplicates,
        "template": task.template.fingerprint,
        "lm": workspace.engine.lm.fingerprint,
        "window": workspace.engine.lm.context_length,
    }


def _show_generated(rows: Sequence[dict[str, Any]], refused: dict[str, int]) -> None:
    console = Console()
    for row in rows:
        asked = " | ".join(row["fields"].values())
        console.print(f"[bold]{escape(row['label'])}[/]  {escape(asked)}", highlight=False)
        for one in row["demonstrations"]:
            line = f"  {one['label']}: {' | '.join(one['fields'].values())}"
            console.print(f"{escape(line)} [dim]({escape(one['uid'])})[/]", highlight=False)
    for why, count in refused.items():
        typer.echo(f"{count} texts were refused: {why}")


def _row(example: Example) -> dict[str, Any]:
    return {"uid": example.uid, "fields": dict(example.fields), "label": example.label}


def _unlabelled(workspace: Workspace, queries: Path | None) -> list[Example]:
    """Queries of a file, else the inputs of dev."""
    if queries is None:
        return [Example(one.uid, one.fields) for one in workspace.task.dev]
    return load_examples(queries, inputs=workspace.task.input_columns, label=None, split="query")


def _shown(
    workspace: Workspace, queries: Sequence[Example], shots: int, *, method: str, seed: int
) -> list[Selection] | None:
    if shots == 0:
        return None
    from selector.strategies.named import build_selector

    task = workspace.task
    chosen = build_selector(method, engine=workspace.engine, encoder=workspace.encoder, dev=task.dev, seed=seed)
    return chosen.select(queries, shots)


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    if not path.is_file():
        raise DataFileError(f"there is no file {path}", expected="a text file", remedy="Check the path.")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path} cannot be decoded ({error})", expected="UTF-8 text", remedy="Convert the file to UTF-8."
        ) from error


def _print(rows: Sequence[dict[str, Any]], whole: dict[str, Any], *, as_json: bool) -> None:
    """A table of everything but the costs, or JSON of all of it."""
    if as_json:
        print_json(whole)
        return
    names = [name for name in rows[0] if name != "usage"]
    table = Table(*[name.replace("_", " ") for name in names], "tokens computed")
    for row in rows:
        cells = [f"{row[name]:.4f}" if isinstance(row[name], float) else str(row[name]) for name in names]
        table.add_row(*map(escape, cells), f"{row['usage']['tokens_computed']:,}")
    Console().print(table)
