"""Does warming the bundled language model up help it on tasks that it has not seen?

    python -m benchmarks.warmup_study                     goes on where it was stopped
    python -m benchmarks.warmup_study --arms "metaicl;metaicl, channel" --steps 300
    python -m benchmarks.warmup_study --measure 3         seconds of a step, and how many fit half an hour

Trained on eight labelled tasks (or on the texts of bundled news articles alone), measured on four others with the same
random demonstrations before and after; no text of theirs is trained on. Every arm is one change from the first.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer

from benchmarks import SHARED_DATA
from policies.warmup import WarmUpMaterial, warm_up
from policies.warmup_config import WarmUpConfig
from policies.warmup_episodes import labelled_tasks
from policies.warmup_evaluation import HeldOutPlan, gains_as_json
from policies.warmup_training import train_model
from selector.data.task import Task
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_model
from selector.progress import RichProgress

HERE: Final = Path(__file__).parent
TRAINED: Final = ("emotion", "trec6", "dbpedia14", "amazon_sentence", "tweet_irony", "sms_spam", "snli", "rte")
HELD_OUT: Final = ("sst2", "agnews", "subj", "cb")
SELF_SUPERVISED: Final = "self-supervised"
ARMS: Final[Mapping[str, dict[str, Any]]] = {
    "metaicl": {},
    "metaicl, channel": {"form": "channel"},
    "instruction tuning": {"instructions": True},
    SELF_SUPERVISED: {},
    "metaicl, all weights": {"adapter": "full"},
}
BASE: Final = LanguageModelConfig(dtype="float32")


def settings(arm: str, *, steps: int, seed: int) -> WarmUpConfig:
    """Gives the settings of an arm.

    Args:
        arm: One of `ARMS`.
        steps: Optimiser steps.
        seed: The seed.

    Returns:
        The settings.
    """
    given: dict[str, Any] = {
        "steps": steps,
        "batch_size": 8,
        "shots": 4,
        "longest": 384,
        "checkpoint_every": 10,
        "seed": seed,
    }
    return WarmUpConfig(**given | ARMS[arm])


def material(arm: str) -> WarmUpMaterial:
    """Gathers what an arm learns from.

    Args:
        arm: One of `ARMS`.

    Returns:
        The material.
    """
    exam = [Task.load(name, data_dir=SHARED_DATA) for name in HELD_OUT]
    if arm == SELF_SUPERVISED:
        news = Task.load("bbc-news")
        return WarmUpMaterial(documents=[row.fields["text"] for row in news.pool], held_out=exam)
    return WarmUpMaterial([Task.load(name, data_dir=SHARED_DATA) for name in TRAINED], held_out=exam)


def measured(steps: int, *, minutes: float = 30.0) -> dict[str, float]:
    """Measures how long the first arm's steps take.

    Args:
        steps: Of training, without checkpoints between them.
        minutes: Whose number of steps is asked for.

    Returns:
        Seconds of a step, and the steps that fit.
    """
    config = replace(settings("metaicl", steps=steps, seed=0), checkpoint_every=steps)
    given = material("metaicl")
    tasks, _ = labelled_tasks(given.tasks, given.held_out, instructions=False)
    model, tokenizer, _ = load_model(BASE)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        train_model(model, tokenizer, tasks, config=config, folder=Path(folder), progress=RichProgress())
        seconds = (time.monotonic() - start) / steps
    return {"seconds_per_step": seconds, "steps_that_fit": int(60 * minutes / seconds)}


def table(result: Mapping[str, Any]) -> list[str]:
    """Lays the study out.

    Args:
        result: Of warmup.json.

    Returns:
        Lines of Markdown.
    """
    names = list(dict.fromkeys(name for run in result["runs"].values() for name in run["gains"]))
    lines = [f"| arm | seed | steps | minutes | {' | '.join(names)} |", "|---" * (len(names) + 4) + "|"]
    for own in result["runs"].values():
        cells = []
        for name in names:
            gain = own["gains"][name]
            delta, low, high = (100 * gain["difference"][end] for end in ("delta", "low", "high"))
            before, after = (100 * gain[stage]["estimate"] for stage in ("before", "after"))
            cells.append(f"{before:.1f} to {after:.1f}: {delta:+.1f} [{low:+.1f}, {high:+.1f}]")
        config, minutes = own["config"], f"{own['seconds'] / 60:.0f}"
        lines.append(f"| {own['arm']} | {config['seed']} | {config['steps']} | {minutes} | {' | '.join(cells)} |")
    if speed := result.get("measured"):
        seconds, cores = speed["seconds_per_step"], speed["cores"]
        lines += [
            "",
            f"On {cores} free cores a step takes {seconds:.1f} s, 120 steps {120 * seconds / 60:.0f} minutes.",
        ]
    return [*lines, ""]


def started(folder: Path) -> float:
    """Starts or goes on with the clock of a run; the part that was stopped counts up to the last file that it wrote.

    Args:
        folder: Of the run; its clock stands beside it.

    Returns:
        When the run would have started without stops, seconds since the epoch.
    """
    clock, now, before = folder.with_name(f"{folder.name}.clock.json"), time.time(), 0.0
    if folder.exists() and clock.is_file():
        last = json.loads(clock.read_text(encoding="utf-8"))
        newest = max((file.stat().st_mtime for file in folder.rglob("*")), default=0.0)
        before = last["before"] + max(0.0, newest - last["start"])
    clock.parent.mkdir(parents=True, exist_ok=True)
    clock.write_text(json.dumps({"before": before, "start": now}), encoding="utf-8")
    return now - before


def keep(out: Path, name: str, run: Mapping[str, Any]) -> None:
    """Adds a run to the result file.

    Args:
        out: The file.
        name: Of the run: arm, steps and seed.
        run: Its arm, settings, gains and seconds.
    """
    result = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"runs": {}}
    result |= {"base": BASE.model, "trained": list(TRAINED), "held_out": list(HELD_OUT)}
    result["runs"][name] = {**run, **_machine()}
    _write(out, result)


def keep_speed(out: Path, found: Mapping[str, float]) -> None:
    """Puts how long a step takes into the result file.

    Args:
        out: The file.
        found: By `measured`.
    """
    result = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"runs": {}}
    _write(out, result | {"measured": {**found, **_machine()}})


def _machine() -> dict[str, int]:
    # Not os.cpu_count: a container may grant fewer cores than the machine has.
    return {"cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}


def _write(out: Path, result: Mapping[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")  # a kill while writing must not cost the runs that are done
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part.replace(out)


def main(
    *,
    arms: Annotated[str, typer.Option(help="Arms, parted by semicolons.")] = "metaicl",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 120,
    queries: Annotated[int, typer.Option(min=1, help="Test queries of a held-out task.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of demonstrations for each query.")] = 2,
    seed: Annotated[int, typer.Option(help="Of training.")] = 0,
    measure: Annotated[int, typer.Option(min=0, help="Measure this many steps and stop.")] = 0,
    work: Annotated[Path, typer.Option(help="Where models are kept.")] = HERE / ".work" / "warmup",
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = HERE / "results" / "warmup.json",
) -> None:
    """Runs the study."""
    if measure:
        keep_speed(out, found := measured(measure))
        print(json.dumps(found))
        return
    for arm in arms.split(";"):
        config = settings(arm, steps=steps, seed=seed)
        folder = work / f"{arm.replace(', ', '-').replace(' ', '-')}-{steps}-{seed}"
        fresh, start = not folder.exists(), started(folder)
        plan = HeldOutPlan(shots=config.shots, queries=queries, seeds=seeds)
        outcome = warm_up(material(arm), BASE, out=folder, config=config, plan=plan, progress=RichProgress())
        done = json.loads(out.read_text(encoding="utf-8"))["runs"] if out.is_file() else {}
        if fresh or done.get(folder.name, {}).get("config") != asdict(config):
            found = {"config": asdict(config), "gains": gains_as_json(outcome.gains), "seconds": time.time() - start}
            keep(out, folder.name, {"arm": arm, **found})
    print("\n".join(table(json.loads(out.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    typer.run(main)
