"""The command that lists the tasks that come with the package: tasks."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.cli.app import app
from policies.cli.options import JsonOption, QuietOption, print_json


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="Show this one alone, with its prompt.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the presets that --task takes by name, or show one of them."""
    from selector.data.presets import preset_details, preset_named, presets

    if name is not None:
        details = preset_details(preset_named(name))
        print_json(details) if as_json else _show(details)
        return
    found = presets()
    if as_json:
        shown = ("name", "kind", "description", "answers", "metric", "found")
        print_json([{each: getattr(preset, each) for each in shown} for preset in found])
        return
    table = Table("task", "kind", "answers", "metric", "data")
    for preset in found:
        table.add_row(preset.name, preset.kind, preset.answers, preset.metric, "found" if preset.found else "-")
    Console().print(table)
    if not (quiet or all(preset.found for preset in found)):
        typer.echo(
            "Where data is not found: name its folder with shotsmith --data-dir DIR, or set SHOTSMITH_DATA=DIR.",
            err=True,
        )


def _show(details: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)
    for key, value in details.items():
        if value in ({}, [], ""):
            continue
        console.print(f"[bold]{escape(key)}[/]", highlight=False)
        if isinstance(value, dict):
            lines = [f"{each}: {own!r}" if key == "labels" else f"{each}: {own}" for each, own in value.items()]
        else:
            lines = [str(each) for each in value] if isinstance(value, list) else str(value).split("\n")
        for line in lines:
            console.print(f"  {escape(line)}", highlight=False)
