"""The command that compares methods."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.measure import Measurement

from policies.cli.answering import ForceOption
from policies.cli.app import app
from policies.cli.configuration import settings_used
from policies.cli.options import (
    EngineOption,
    JsonOption,
    LimitOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RayAddressOption,
    ResumeOption,
    TaskOption,
    print_json,
    print_usage,
    progress_for,
)
from selector.errors import UnknownNameError, UsageError
from selector.workspace import Workspace

if TYPE_CHECKING:
    from policies.comparison import ComparisonOutcome
    from selector.data.task import Task

METHODS, LM_FREE = ("random", "bm25", "nearest"), ("label-vote", "logreg")
UNLIMITED = 10_000  # characters of a line
OrderersOption = Annotated[
    str, typer.Option(help="Orders what every method chose; of several, as in given,reverse, each is tried.")
]
MethodsOption = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated method names or folders; dpp:FOLDER picks diverse sets with a trained retriever; "
        "NAME+ORDERER orders what NAME chose. By default random, bm25, nearest, and where labels are the same for "
        "every query label-vote and logreg."
    ),
]
ShotNumbersOption = Annotated[
    str, typer.Option(help="Demonstrations in each prompt; several numbers, as in 0,1,2,4, are compared in turn.")
]
DevLimitOption = Annotated[
    int | None, typer.Option("--dev-limit", min=1, help="Dev queries for searches and orders, at most.")
]
BudgetOption = Annotated[
    str,
    typer.Option(
        help="Language-model tokens that each run of best-of-k, greedy or influence may ask for; equal: as many as "
        "the dearest training among the methods asked for."
    ),
]
ProbesOption = Annotated[
    str,
    typer.Option(
        "--probes",
        help="Unlabelled inputs by which globale and locale rank orders: so many reward or dev queries; "
        "lm: the language model writes them.",
    ),
]
PoolsOption = Annotated[
    int,
    typer.Option(
        min=1, help="Pools that every method chooses from: the task's own, and others drawn from all training rows."
    ),
]
OrderSetsOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Random sets of demonstrations that are tried in up to 24 orders on dev queries; the report then "
        "tells whether order matters for this language model and task.",
    ),
]


@app.command()
def compare(
    context: typer.Context,
    task: TaskOption,
    out: OutOption,
    methods: MethodsOption = None,
    shots: ShotNumbersOption = "4",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds for methods with random choices.")] = 3,
    pools: PoolsOption = 1,
    limit: LimitOption = None,
    orderer: OrderersOption = "given",
    baseline: Annotated[str, typer.Option(help="The method that the others are compared with.")] = "nearest",
    budget: BudgetOption = "",
    metrics: Annotated[
        str, typer.Option(help="Comma-separated metrics that get a column, such as macro-f1,ece or token-f1.")
    ] = "",
    order_sets: OrderSetsOption = 0,
    probes: ProbesOption = "16",
    dev_limit: DevLimitOption = None,
    force: ForceOption = False,
    resume: ResumeOption = True,
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare methods on the same test queries, with paired intervals, costs and a report."""
    from policies.comparison import ComparisonPlan, compare_methods

    progress, orderers = progress_for(quiet), _names(orderer)
    workspace = Workspace.open(task, use_store=not no_cache, engine=engine, ray_address=ray_address, progress=progress)
    plan = ComparisonPlan(
        methods=_crossed(_methods(methods, workspace.task), orderers),
        shots=_numbers(shots),
        seeds=tuple(range(seeds)),
        pools=pools,
        orderer=orderers[0] if len(orderers) == 1 else "given",
        baseline=baseline,
        limit=limit,
        budget=_budget(budget),
        metrics=_names(metrics),
        order_sets=order_sets,
        probes=_probes(probes),
        dev_limit=dev_limit,
        force=force,
    )
    outcome = compare_methods(workspace, out, plan=plan, command=_said(context), resume=resume, progress=progress)
    if not quiet:
        if outcome.reused:
            typer.echo(f"{outcome.reused} of {outcome.runs} runs were finished already ({out / 'cells'})", err=True)
        print_usage(workspace.usage)
    if as_json:
        print_json(outcome.results)
    else:
        _show(outcome, plan.metrics)


def _said(context: typer.Context) -> str:
    """The command with what a configuration file added to it; of paths that others do not have, the name."""
    parts = [*sys.argv[1:], *settings_used(context)]
    return " ".join(["shotsmith", *(Path(part).name if part.startswith("/") else part for part in parts)])


def _methods(given: str | None, task: Task) -> tuple[str, ...]:
    """The methods that were named, else the usual ones; references need labels that all queries share."""
    return _names(given) if given is not None else (*METHODS, *(LM_FREE if task.template.labels else ()))


def _crossed(methods: tuple[str, ...], orderers: tuple[str, ...]) -> tuple[str, ...]:
    """Every method with every orderer, where there are several; references, and NAME+ORDERER, stay as they are."""
    from policies.compared import has_orderer
    from selector.evaluation.references import REFERENCES
    from selector.ordering.named import ORDERERS

    if len(orderers) < 2:
        return methods
    if unknown := [name for name in orderers if name not in ORDERERS]:
        raise UnknownNameError("orderer", unknown[0], known=ORDERERS)
    crossed = []
    for method in methods:
        alone = method in REFERENCES or has_orderer(method)
        crossed += [method] if alone else [method if own == "given" else f"{method}+{own}" for own in orderers]
    return tuple(crossed)


def _show(outcome: ComparisonOutcome, metrics: tuple[str, ...]) -> None:
    from selector.evaluation.results import several_pools, shown_verdict
    from selector.evaluation.tables import cost_table, metric_table, result_table, sweep_table

    console = Console()
    table = result_table(outcome.comparison, metrics=metrics)
    apart = metrics or several_pools(outcome.comparison)
    if apart and Measurement.get(console, console.options.update(max_width=UNLIMITED), table).maximum > console.width:
        console.print(result_table(outcome.comparison, pools=False))
        table = metric_table(outcome.comparison, metrics)
    console.print(table)
    if len(outcome.comparisons) > 1:
        console.print(sweep_table(outcome.comparisons))
    if (costs := cost_table(outcome.comparison)) is not None:
        console.print(costs)
    console.print(shown_verdict(outcome.comparison), highlight=False, markup=False)
    console.print(
        f"report: {outcome.report}\nresults: {outcome.results_file}\ntable: {outcome.table}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> int | tuple[int, ...]:
    parts = _names(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(
            f"--shots is {text!r}",
            expected="a number of 0 or more, or several with commas between them",
            remedy="Write --shots 4, or --shots 0,1,2,4.",
        )
    numbers = tuple(int(part) for part in parts)
    return numbers if len(numbers) > 1 else numbers[0]


def _probes(text: str) -> int | Literal["lm"]:
    if text == "lm":
        return "lm"
    if not text.isdecimal():
        raise UsageError(f"the probes are {text!r}", expected="a number of queries, or lm", remedy="Correct --probes.")
    return int(text)


def _budget(text: str) -> int | Literal["equal"] | None:
    if text == "equal":
        return "equal"
    if text and not text.isdecimal():
        raise UsageError(
            f"--budget is {text!r}",
            expected="a number of tokens, or equal",
            remedy="Write --budget 200000, or --budget equal.",
        )
    return int(text) if text else None
