"""The commands that show: demo, inspect, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.cli.app import app
from policies.cli.options import JsonOption, QuietOption, SeedOption, check_there, print_json, progress_for


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder for everything that the demo makes.")] = Path(
        "demo-output"
    ),
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole story on bundled real data and models: mine, train, export, compare."""
    from policies.demo import DemoConfig, run_demo

    console = Console(stderr=as_json)  # the story is for people, standard output for whoever reads JSON
    outcome = run_demo(out, config=DemoConfig(seed=seed), console=console, progress=progress_for(quiet))
    if as_json:
        print_json(outcome.results)


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="A folder written by `shotsmith export` or train-retriever.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what an artifact or a retriever was made of and for."""
    from selector.learned.corpus_artifact import read_policy
    from selector.strategies.retriever import CARD_FILE, read_retriever_card

    check_there(artifact)
    if (artifact / CARD_FILE).is_file():
        shown = {"kind": "retriever"} | asdict(read_retriever_card(artifact))
    else:
        shown = asdict(read_policy(artifact).manifest)
    if as_json:
        print_json(shown)
        return
    table = Table(show_header=False, title=escape(artifact.name))
    for name, value in shown.items():
        table.add_row(name.replace("_", " "), escape(str(value)))
    Console().print(table)


@app.command()
def doctor(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Check the installation; exit code 1 when something needs doing."""
    from policies.doctor import run_checks

    checks = run_checks()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        console = Console()
        for check in checks:
            mark = "[green]ok  [/]" if check.ok else "[bold red]fail[/]"
            console.print(f"{mark} {escape(check.name)}: {escape(check.found)}", highlight=False, soft_wrap=True)
            if not check.ok:
                console.print(f"     {escape(check.remedy)}", highlight=False, soft_wrap=True)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
