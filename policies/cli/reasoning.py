"""The command that reasons: reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.cli.app import app
from policies.cli.options import (
    JsonOption,
    LimitOption,
    NoCacheOption,
    QuietOption,
    SeedOption,
    ShotsOption,
    print_json,
    print_usage,
    progress_for,
    refuse_typed,
    unless_typed,
)
from policies.cli.settings import SettingsOption, settings_of_each
from selector.data.loading import load_examples, rows_of
from selector.data.paths import score_store_path
from selector.data.task import task_path
from selector.data.task_file import read_task_file
from selector.errors import UsageError
from selector.lm.base import LanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.prompting.reasoning.auto_cot import AutoCoT, AutoCoTConfig
from selector.prompting.reasoning.chain import ReasoningConfig
from selector.prompting.reasoning.named import METHODS, ReasoningPlan, answer_all, build_reasoner, check_method
from selector.prompting.reasoning.problems import Problem, kind_of, load_problems, problems_of
from selector.prompting.reasoning.self_consistency import SamplingConfig
from selector.prompting.reasoning.shown import WAYS
from selector.prompting.reasoning.trace import Trace, summarise
from selector.prompting.reasoning.trace_file import TraceFile, problems_fingerprint
from selector.retrieval.config import EncoderConfig
from selector.retrieval.encoder import SentenceEncoder, TextEncoder
from selector.types import Example
from selector.workspace import Workspace

VOTING: Final = "self-consistency"
AUTO_COT: Final = "auto-cot"


class Material(NamedTuple):
    """What is reasoned with and about.

    Attributes:
        lm: The language model.
        solved: Demonstrations.
        asked: Questions.
        kind: Of the answers.
        encoder: Gives the encoder.
        encoder_name: Its name.
    """

    lm: LanguageModel
    solved: list[Problem]
    asked: list[Problem]
    kind: str
    encoder: Callable[[], TextEncoder]
    encoder_name: str


DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="JSONL of demonstrations: question, answer; rationale, choices, parts if any.",
        callback=unless_typed("task"),
    ),
]
OwnTaskOption = Annotated[
    str,
    typer.Option(
        "--task", help="A task whose pool and models are used, in place of --data.", callback=unless_typed("data")
    ),
]


@app.command()
def reason(
    context: typer.Context,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")],
    queries: Annotated[
        Path,
        typer.Option("--queries", help="JSONL of questions; answers, where there are any, are only compared with."),
    ],
    data: DataOption = None,
    task: OwnTaskOption = "",
    kind: Annotated[
        str, typer.Option("--kind", help="Answers are number, yes-no, choice or text; else told from task or data.")
    ] = "",
    choose: Annotated[str, typer.Option("--choose", help=f"Chooses demonstrations: {', '.join(WAYS)}.")] = "fixed",
    shots: ShotsOption = 4,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Rationales that vote in self-consistency.")] = 5,
    temperature: Annotated[float, typer.Option("--temperature", help="Of those samples.")] = 0.7,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="The longest rationale, tokens.")] = 192,
    model: Annotated[str, typer.Option("--model", help="The language model of --data.")] = LanguageModelConfig.model,
    limit: LimitOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSONL that takes every trace at once; a stopped run goes on from it.")
    ] = None,
    others: SettingsOption = None,
    seed: SeedOption = 0,
    trace: Annotated[bool, typer.Option("--trace", help="Print every prompt and generation.")] = False,
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer questions by reasoning in text, with the whole way to every answer."""
    writing, sampling, auto_cot = _settings(context, others)
    lm, solved, asked, kind, encoder, encoder_name = _material(
        data, task, queries, kind=kind, model=model, use_store=not no_cache
    )
    plan = ReasoningPlan(
        method,
        kind,
        shots=shots,
        choose=choose,
        seed=seed,
        writing=replace(ReasoningConfig(rationale_tokens=tokens), **writing),
        sampling=sampling,
        auto_cot=AutoCoTConfig(**auto_cot),
    )
    progress = progress_for(quiet)
    run = {"plan": asdict(plan), "lm": lm.fingerprint, "window": lm.context_length}
    run |= {"demonstrations": problems_fingerprint(solved)} | ({"encoder": encoder_name} if plan.embeds else {})
    kept = TraceFile(out, run) if out else None
    written = TraceFile(_beside(out), run) if out and method == AUTO_COT else None
    built = build_reasoner(plan, lm, solved, encoder=encoder, rationales=written, progress=progress)
    traces = answer_all(built.reasoner, asked[:limit], kept=kept, progress=progress)
    if not quiet:
        print_usage(lm.usage)
    if as_json:
        own = built.auto_cot
        made = {"auto_cot": asdict(own) | {"written": own.written, "refused": own.refused}} if own else {}
        print_json({"summary": asdict(summarise(traces)), **made, "traces": [one.as_json() for one in traces]})
        return
    _show(traces, built.auto_cot, whole=trace)


def _settings(
    context: typer.Context, others: Sequence[str] | None
) -> tuple[dict[str, Any], SamplingConfig, dict[str, Any]]:
    """Those of writing, voting and Auto-CoT; what was typed and would do nothing is refused."""
    given = context.params
    method, shots = given["method"], given["shots"]
    check_method(method)
    idle = ["shots", "choose"] if method == "zero-shot-cot" else []
    idle += ["choose"] if method in (AUTO_COT, "self-ask", "least-to-most") else []
    refuse_typed(context, idle, beside=f"--method {method}", belongs="with another method")
    if method != VOTING:
        names, belongs = ["samples", "temperature"], f"with --method {VOTING}"
        refuse_typed(context, names, beside=f"--method {method}", belongs=belongs)
    if given["task"]:
        refuse_typed(context, ["model"], beside="--task", belongs="with --data")
    writing, sampling, auto_cot = settings_of_each(others, ReasoningConfig, SamplingConfig, AutoCoTConfig)
    if "seed" in sampling:
        raise UsageError("the seed is set by --set", expected="it once for all", remedy="Say it by --seed.")
    for own, needed in ((sampling, VOTING), (auto_cot, AUTO_COT)):
        if own and method != needed:
            raise UsageError(
                f"--set {next(iter(own))} is typed beside --method {method}",
                expected=f"it with --method {needed}",
                remedy="Take it away or choose that method.",
            )
    if method == AUTO_COT and ("demonstrations" in auto_cot or shots == 0):
        raise UsageError(
            f"auto-cot is asked for {shots} demonstrations" + (" by --shots, and for others by --set" if shots else ""),
            expected="one number, 1 or more",
            remedy="Say it by --shots.",
        )
    voting = SamplingConfig(seed=given["seed"])
    if method == VOTING:
        typed = replace(voting, samples=given["samples"], temperature=given["temperature"])
        voting = replace(typed, **sampling)
    return writing, voting, auto_cot


def _beside(out: Path) -> Path:
    """Where the rationales of Auto-CoT's demonstrations go."""
    return out.with_name(f"{out.stem}.rationales{out.suffix}")


def _material(data: Path | None, task: str, queries: Path, *, kind: str, model: str, use_store: bool) -> Material:
    """The language model, demonstrations, questions, the kind of answers, and what gives an encoder."""
    if (data is None) == (not task):
        raise UsageError(
            "both --data and --task are given" if task else "neither --data nor --task is given",
            expected="one of the two",
            remedy="Pass --data FILE with demonstrations, or --task T to use a task's pool.",
        )
    if data is not None:
        solved, kind = load_problems(data, kind=kind, split="demonstration")
        asked, _ = load_problems(queries, kind=kind, split="query")
        lm = load_language_model(LanguageModelConfig(model=model), store=score_store_path() if use_store else None)
        name = EncoderConfig().model
        return Material(lm, solved, asked, kind, partial(SentenceEncoder.load, name), name)
    workspace = Workspace.open(task, use_store=use_store)
    template = workspace.task.template
    kind, rule = kind or kind_of(template), template.answer_rule
    examples = _examples(task, queries, workspace.task.input_columns)
    solved, asked = (problems_of(given, kind, answer_rule=rule) for given in (workspace.task.pool, examples))
    name = workspace.task.encoder.model
    return Material(workspace.engine.lm, solved, asked, kind, lambda: workspace.encoder, name)


def _examples(task: str, queries: Path, inputs: Sequence[str]) -> list[Example]:
    """Questions in the columns of a task file, with label and choices where every row has them."""
    columns = read_task_file(task_path(task))["fields"]
    whole = [{name for name, cell in row.items() if cell is not None} for _, row in rows_of(queries)]
    there = set.intersection(*whole) if whole else set()
    choices = [name for name in columns.get("choices", ()) if name in there]
    label = columns["label"] if columns["label"] in there else None
    return load_examples(queries, inputs=inputs, label=label, split="query", choices=choices)


def _show(traces: list[Trace], made: AutoCoT | None, *, whole: bool) -> None:
    if whole:
        for cluster in made.clusters if made else ():
            for attempt in cluster.attempts:
                typer.echo(f"auto-cot: cluster of {cluster.size}, {attempt.uid}: {attempt.refused or 'kept'}")
                typer.echo(attempt.trace.text() if attempt.trace else "")
        for trace in traces:
            typer.echo(trace.text() + "\n")
    table = Table("question", "answer", "gold", "malformed", "remark")
    for trace in traces:
        shown = [trace.question, trace.answer or "-", trace.gold or "-", str(trace.malformed), trace.remark]
        table.add_row(*map(escape, shown))
    Console().print(table)
    if made:
        gave = f"{len(made.demonstrations)} of {len(made.clusters)} clusters gave a demonstration"
        typer.echo(f"auto-cot: {gave}, {made.refused} of {made.written} rationales refused")
    total = summarise(traces)
    judged = sum(trace.right is not None for trace in traces)
    right = f"{total.right} of {judged} right, " if judged else ""
    typer.echo(
        f"{right}{total.unanswered} of {total.problems} unanswered, "
        f"{total.malformed} of {total.generations} generations malformed"
    )
