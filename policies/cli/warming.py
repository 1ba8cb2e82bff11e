"""The command that changes the language model itself: warm-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from policies.cli.app import app
from policies.cli.options import (
    JsonOption,
    OutOption,
    QuietOption,
    ResumeOption,
    SeedOption,
    ShotsOption,
    print_json,
    progress_for,
)
from policies.cli.settings import SettingsOption, settings_from
from policies.warmup_config import WarmUpConfig
from policies.warmup_evaluation import HeldOutPlan, gain_lines, gains_as_json
from selector.lm.config import LanguageModelConfig

if TYPE_CHECKING:
    from policies.warmup import WarmedUp

DEFAULT, PLAN = WarmUpConfig(), HeldOutPlan()


def _count(help: str, *, least: int = 1) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(min=least, help=help)


@app.command("warm-up")
def warm_up_command(
    out: OutOption,
    tasks: Annotated[
        str, typer.Option("--tasks", help="Training tasks, parted by commas; their pools are learned.")
    ] = "",
    held_out: Annotated[
        str, typer.Option("--held-out", help="Tasks measured before and after, parted by commas.")
    ] = "",
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", help="Plain text, documents parted by empty lines: self-supervised training."),
    ] = None,
    base: Annotated[str, typer.Option(help="The model to start from; else that of the first task.")] = "",
    form: Annotated[str, typer.Option(help="direct: learn answers; channel: learn inputs behind answers.")] = "direct",
    instructions: Annotated[
        bool, typer.Option("--instructions", help="Begin every prompt with its task's instruction: instruction tuning.")
    ] = False,
    adapter: Annotated[str, typer.Option(help="lora (the extra `warmup`) or full, all weights.")] = DEFAULT.adapter,
    rank: Annotated[int, _count("Of the adapters.")] = DEFAULT.rank,
    shots: ShotsOption = DEFAULT.shots,
    steps: Annotated[int, _count("Optimiser steps.")] = DEFAULT.steps,
    batch_size: Annotated[int, _count("Prompts of a step.")] = DEFAULT.batch_size,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak rate; 3e-4 for lora, 1e-5 for full by default.")
    ] = None,
    longest: Annotated[int, _count("The longest prompt, tokens.", least=8)] = DEFAULT.longest,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = DEFAULT.precision,
    limit: Annotated[int, _count("Test queries of a held-out task, at most.")] = PLAN.queries,
    seeds: Annotated[int, _count("Draws of demonstrations for each of them.")] = PLAN.seeds,
    others: SettingsOption = None,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune a language model to answer from demonstrations (MetaICL), and measure it on tasks it has not seen."""
    from policies.warmup import WarmUpMaterial, read_documents, warm_up
    from selector.data.task import Task

    loaded, exam = ([Task.load(name) for name in _names(given)] for given in (tasks, held_out))
    material = WarmUpMaterial(loaded, read_documents(corpus) if corpus else (), exam)
    first = loaded[0].lm if loaded else LanguageModelConfig()
    start = replace(first, model=base, server="", engine="local", revision=None) if base else first
    config = WarmUpConfig(
        form=form,
        instructions=instructions,
        shots=shots,
        steps=steps,
        batch_size=batch_size,
        adapter=adapter,
        rank=rank,
        learning_rate=learning_rate,
        longest=longest,
        precision=precision,
        seed=seed,
    )
    config = replace(config, **settings_from(others, WarmUpConfig))
    plan = HeldOutPlan(shots=config.shots, queries=limit, seeds=seeds)
    work: dict[str, Any] = {"resume": resume, "progress": progress_for(quiet)}
    _print(warm_up(material, start, out=out, config=config, plan=plan, **work), as_json=as_json)


def _print(outcome: WarmedUp, *, as_json: bool) -> None:
    if as_json:
        print_json({"model": str(outcome.model), "gains": gains_as_json(outcome.gains)})
        return
    console = Console()
    for line in gain_lines(outcome.gains) if outcome.gains else ():
        console.print(line, highlight=False, markup=False)
    console.print(f'[lm] model = "{outcome.model}"', highlight=False, markup=False, soft_wrap=True)


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]
