"""The command that makes a task file from data: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from policies.cli.app import app
from policies.cli.options import JsonOption, QuietOption, print_json
from selector.errors import UsageError


@app.command()
def init(
    data: Annotated[Path, typer.Argument(help="A JSONL, CSV or Parquet file of labelled rows.")],
    out: Annotated[Path, typer.Option("--out", help="The task file to write.")] = Path("TASK.toml"),
    label: Annotated[str | None, typer.Option("--label", help="The label column; else guessed.")] = None,
    inputs: Annotated[str, typer.Option("--inputs", help="The input columns, parted by commas; else guessed.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the task file that is there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a TASK.toml for a data file: guess its columns, say why, and show the first prompt."""
    from selector.data.task_writing import propose_task, write_task

    if out.exists() and not force:  # before the long look at the data
        raise UsageError(f"{out} is there already", expected="a new file", remedy="Pass --force to replace it.")
    names = [name.strip() for name in inputs.split(",") if name.strip()]
    proposed = propose_task(data, out, label=label, inputs=names)
    task = write_task(proposed, out, force=force)
    prompt = task.template.prompt([task.pool[0]], task.test[0])
    if as_json:
        shown = {"task": str(out), "rows": proposed.rows, "reasons": list(proposed.reasons)}
        print_json(shown | {"document": dict(proposed.document), "prompt": prompt})
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in proposed.reasons:
        console.print(line)
    console.print(f"wrote {out}; its first prompt, with one demonstration:\n")
    for line in prompt.splitlines():
        console.print(f"    {line}")
    console.print(f"\nCheck the template and [labels] in {out}, then: shotsmith compare --task {out} --out results")
