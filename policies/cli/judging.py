"""The command that compares methods."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from policies.cli.app import app
from policies.cli.options import (
    EngineOption,
    JsonOption,
    LimitOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RayAddressOption,
    ShotsOption,
    TaskOption,
    print_json,
    print_usage,
    progress_for,
)
from selector.workspace import Workspace


@app.command()
def compare(
    task: TaskOption,
    out: OutOption,
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated method names or folders; dpp:FOLDER picks diverse sets with a trained retriever; "
            "NAME+ORDERER orders what NAME chose."
        ),
    ] = "random,bm25,nearest,label-vote,logreg",
    shots: ShotsOption = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds for methods with random choices.")] = 3,
    limit: LimitOption = None,
    orderer: Annotated[str, typer.Option(help="Orders what every method chose.")] = "given",
    baseline: Annotated[str, typer.Option(help="The method that the others are compared with.")] = "nearest",
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare methods on the same test queries, with paired intervals, costs and a report."""
    from policies.stages import ComparisonPlan, compare_methods
    from selector.evaluation.results import result_table, shown_verdict

    plan = ComparisonPlan(
        methods=tuple(name.strip() for name in methods.split(",") if name.strip()),
        shots=shots,
        seeds=tuple(range(seeds)),
        orderer=orderer,
        baseline=baseline,
        limit=limit,
    )
    workspace = Workspace.open(
        task, use_store=not no_cache, engine=engine, ray_address=ray_address, progress=progress_for(quiet)
    )
    command = " ".join(["shotsmith", *(Path(part).name if part.startswith("/") else part for part in sys.argv[1:])])
    outcome = compare_methods(workspace, out, plan=plan, command=command, progress=progress_for(quiet))
    if not quiet:
        print_usage(workspace.usage)
    if as_json:
        print_json(outcome.results)
        return
    console = Console()
    console.print(result_table(outcome.comparison))
    console.print(shown_verdict(outcome.comparison), highlight=False, markup=False)
    console.print(f"report: {outcome.report}\nresults: {outcome.results_file}", highlight=False, soft_wrap=True)
