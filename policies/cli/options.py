"""Options that several commands share, so that each means the same everywhere, and how results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from selector.data.loading import load_examples
from selector.data.task import Task
from selector.errors import InvalidExampleError, UsageError
from selector.lm.base import Usage
from selector.progress import SILENT, Progress, RichProgress
from selector.types import Example


def _presets(incomplete: str) -> list[str]:
    """The presets that a shell may complete to; where there is none it goes on with files."""
    from selector.data.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def unless_typed(other: str) -> Callable[[typer.Context, typer.CallbackParam, Any], Any]:
    """Makes the callback of an option that stands in a configuration file in vain where its alternative is typed.

    Args:
        other: The name of the alternative's parameter.

    Returns:
        The callback; typed options are read before configured ones.
    """

    def kept(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        own, others = (context.get_parameter_source(name) for name in (str(param.name), other))
        typed = others is not None and others.name == "COMMANDLINE"
        return param.default if typed and own is not None and own.name == "DEFAULT_MAP" else value

    return kept


def refuse_typed(context: typer.Context, names: Sequence[str], *, beside: str, belongs: str) -> None:
    """Refuses what was typed and would do nothing; what a configuration file says may be meant for other runs.

    Args:
        context: That of the command.
        names: Parameters that do nothing here.
        beside: What was given that makes it so.
        belongs: With what they do something.

    Raises:
        UsageError: When one was typed.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = next(one.opts[0] for one in context.command.params if one.name == name)
            raise UsageError(
                f"{option} was given with {beside}", expected=f"it {belongs} alone", remedy="Leave one of them out."
            )


TaskOption = Annotated[
    str,
    typer.Option(
        "--task", help="A TASK.toml, or the name of a preset; see `shotsmith tasks`.", autocompletion=_presets
    ),
]


def _may_be_folder(path: Path) -> Path:
    """Refuses, before long work, a folder that cannot be made because a file stands in its place."""
    there = next((place for place in (path, *path.absolute().parents) if place.exists()), path)
    if there.is_file():
        raise UsageError(f"--out is {path}, and {there} is a file", expected="a folder", remedy="Choose another --out.")
    return path


OutOption = Annotated[
    Path, typer.Option("--out", help="The folder for the results; made when missing.", callback=_may_be_folder)
]
ShotsOption = Annotated[int, typer.Option("--shots", min=0, help="Demonstrations in each prompt.")]
AsTrainedOption = Annotated[
    int | None,
    typer.Option("--shots", min=0, help="Demonstrations in each prompt; else what a policy was trained for, or 4."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seeds every random choice.")]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the score store.")]
EngineOption = Annotated[
    str, typer.Option("--engine", help="Where the language model runs: local or ray; else as the task says.")
]
RayAddressOption = Annotated[
    str, typer.Option("--ray-address", help="The Ray cluster of --engine ray; else one is started on this machine.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show no progress bars, costs or hints.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on with what the output folder holds, or start afresh.")
]
TextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="A field of one query as field=value; repeat for more fields.",
        callback=unless_typed("queries"),
    ),
]
QueriesOption = Annotated[
    Path | None,
    typer.Option("--queries", help="A JSONL, CSV or Parquet file of queries.", callback=unless_typed("text")),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Use this many queries at most.")]


def check_there(path: Path) -> None:
    """Makes sure that what a user names is there; whether it is sound is for whoever reads it.

    Args:
        path: A file or folder.

    Raises:
        UsageError: When it is not.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}", expected="a path that is there", remedy="Check the path.")


def check_writable(file: Path | None) -> None:
    """Makes sure, before long work, that its result can be written.

    Args:
        file: Where it goes; its folder is made when missing. None is for a result that nobody wants.

    Raises:
        OSError: When it cannot.
    """
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        there = file.exists()
        file.open("a").close()
        if not there:
            file.unlink()


@cache  # the bars of a language model must share the screen with those of what asks it
def progress_for(quiet: bool) -> Progress:
    """Chooses bars or silence.

    Args:
        quiet: Whether the user wants no bars.

    Returns:
        Bars on standard error when it is a terminal or a log is wanted, else silence; the same ones every time.
    """
    return SILENT if quiet else RichProgress()


def print_usage(usage: Usage) -> None:
    """Says on standard error what was asked of the language model and how much of it the score store saved.

    Args:
        usage: The running count; nothing is said when nothing was asked.
    """
    if usage.calls:
        typer.echo(
            f"language model: {usage.calls:,} scores, {usage.cached / usage.calls:.0%} of them from the score store; "
            f"{usage.tokens_computed:,} tokens computed, {usage.tokens - usage.tokens_computed:,} saved",
            err=True,
        )


def print_json(value: Any) -> None:
    """Prints a value as JSON on standard output.

    Args:
        value: What json can write.
    """
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_folder(folder: Path, *, as_json: bool, usage: Usage | None = None) -> None:
    """Says where results are, on standard output.

    Args:
        folder: What was made.
        as_json: Whether a program reads it.
        usage: What the language model was asked for it, for programs alone.
    """
    if as_json:
        print_json({"folder": str(folder)} | ({"language_model": asdict(usage)} if usage is not None else {}))
    else:
        typer.echo(folder)


def queries_from(task: Task, texts: list[str] | None, queries: Path | None) -> list[Example]:
    """Reads queries from --text or --queries.

    Args:
        task: Whose input fields a query must have.
        texts: "field=value" pairs of one query; where queries have choices, one pair for each choice.
        queries: A file of queries.

    Returns:
        The queries.

    Raises:
        UsageError: When both or neither are given, a pair is not of the form field=value, or a field comes twice.
        InvalidExampleError: When fields are missing, or the task has no such field.
    """
    if bool(texts) == bool(queries):
        raise UsageError(
            "both --text and --queries are given" if texts else "neither --text nor --queries is given",
            expected="one of the two",
            remedy="Pass --text field=value for one query, or --queries FILE for many.",
        )
    if queries is not None:
        return load_examples(queries, inputs=task.input_columns, label=None, split="query", choices=task.choice_columns)
    pairs = [text.partition("=") for text in texts or ()]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise UsageError(
            f"--text {wrong[0]!r} has no equals sign",
            expected="field=value",
            remedy=f'Write --text {task.input_columns[0]}="..."',
        )
    named = [name for name, _, _ in pairs if name not in task.choice_columns]
    if again := [name for name in named if named.count(name) > 1]:
        raise UsageError(
            f"--text names the field {again[0]!r} {named.count(again[0])} times",
            expected="each field once",
            remedy="Leave all but one out, or pass --queries FILE for several queries.",
        )
    fields = {name: value for name, _, value in pairs if name not in task.choice_columns}
    if set(fields) != set(task.input_columns):
        raise InvalidExampleError(
            f"--text gives the fields {sorted(fields)}",
            expected=f"{list(task.input_columns)}",
            remedy="Pass --text for each of them.",
        )
    fields = {name: fields[name] for name in task.input_columns}
    choices = tuple(value for name, _, value in pairs if name in task.choice_columns)
    query = Example("query-0", fields, choices=choices)
    task.template.check(query)
    return [query]
