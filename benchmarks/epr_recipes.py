"""Which recipe trains the best retriever? One change at a time from the defaults, judged on dev.

    python -m benchmarks.epr_study --limit 60      mines what is trained on here
    python -m benchmarks.epr_recipes               every recipe that is not measured yet
    python -m benchmarks.tables                the table of docs/results.md

A recipe is judged by how often the labels of the 8 demonstrations that it retrieves for a dev query vote for the right
one, and by how many of them are right: without a language model, and on queries that no table of results counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks import SHARED_DATA
from benchmarks.epr_study import HERE, LONGEST
from policies.label_rule import LabelRule
from policies.retriever_config import RetrieverTrainingConfig
from policies.stages import train_retriever_on
from selector.data.task import Task
from selector.progress import RichProgress
from selector.strategies.retriever import read_retriever_card
from selector.workspace import Workspace

DEFAULTS: Final = "defaults"
LABELS_ONLY: Final = "labels only, no language model"
RECIPES: Final[dict[str, dict[str, Any]]] = {
    DEFAULTS: {},
    LABELS_ONLY: {},
    "900 members of the pool": {"unscored": 900},  # about as many rows: each is drawn twice
    "2 epochs": {"epochs": 2},
    "mined queries only": {"unscored": 0},
    "distillation instead of contrastive": {"contrastive": 0.0, "distillation": 1.0},
    "distillation and contrastive": {"distillation": 1.0},
    "two encoders": {"encoders": 2},
    "demonstrations without their label": {"labelled_demonstrations": False},
    "rule all": {"rule": LabelRule("all")},
    "rule threshold": {"rule": LabelRule("threshold")},
    "4 hard negatives": {"hard_negatives": 4},
    "learning rate 2e-5": {"learning_rate": 2e-5},
    "learning rate 1e-4": {"learning_rate": 1e-4},
}
VOTE, SHARE = "dev_label_vote_accuracy", "dev_label_share"


def measure(name: str, seed: int, recipe: str, *, work: Path) -> dict[str, Any]:
    """Trains with one recipe.

    Args:
        name: The task.
        seed: Of splits and training.
        recipe: One of `RECIPES`.
        work: Where the EPR study keeps what it mined; the retriever is kept beside it.

    Returns:
        Dev accuracy before and after, and seconds.
    """
    workspace = Workspace(Task.load(name, seed=seed, data_dir=SHARED_DATA))
    folder = work / f"{name}-{seed}" / "recipes" / recipe.replace(", ", "-").replace(" ", "-")
    config = RetrieverTrainingConfig(seed=seed, max_seq_length=LONGEST, **RECIPES[recipe])
    study = HERE / "results" / "epr" / f"{name}-{seed}.json"
    if recipe == DEFAULTS and study.is_file():
        own = json.loads(study.read_text(encoding="utf-8"))
        if own["config"].get("training epr") == asdict(config):  # the same training, measured there
            return _cell(name, seed, recipe, own["metrics"]["epr"], own["cost"]["training epr"]["seconds"])
    mined = [] if recipe == LABELS_ONLY else [work / f"{name}-{seed}" / "mined"]
    start = time.monotonic()
    train_retriever_on(workspace, mined, folder, config=config, progress=RichProgress())
    return _cell(name, seed, recipe, read_retriever_card(folder).metrics, round(time.monotonic() - start, 1))


def _cell(name: str, seed: int, recipe: str, metrics: Mapping[str, float], seconds: float) -> dict[str, Any]:
    return {
        "task": name,
        "seed": seed,
        "recipe": recipe,
        "before": metrics[f"{VOTE}_before"],
        "after": metrics[f"{VOTE}_after"],
        "share_before": metrics[f"{SHARE}_before"],
        "share_after": metrics[f"{SHARE}_after"],
        "seconds": seconds,
    }


def main(
    *,
    tasks: Annotated[str, typer.Option(help="Names of tasks.")] = "trec6,sst2,emotion",
    seeds: Annotated[str, typer.Option(help="Seeds of splits and training.")] = "0",
    recipes: Annotated[str, typer.Option(help="Recipes, parted by semicolons.")] = ";".join(RECIPES),
    work: Annotated[Path, typer.Option(help="Where mined lists and retrievers are kept.")] = HERE / ".work" / "epr",
    out: Annotated[Path, typer.Option(help="Where the results go.")] = HERE / "results" / "recipes.json",
) -> None:
    """Measures the recipes, all tasks with the first recipe first; what is measured is not measured again."""
    cells: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []
    done = {(cell["task"], cell["seed"], cell["recipe"]) for cell in cells}
    for seed in map(int, seeds.split(",")):
        for recipe in recipes.split(";"):
            for name in tasks.split(","):
                if (name, seed, recipe) in done:
                    continue
                cells.append(measure(name, seed, recipe, work=work))
                print(f"{recipe}, {name} {seed}: {cells[-1]['before']:.3f} -> {cells[-1]['after']:.3f}", flush=True)
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
