"""Measures the inference engine on this machine: prefix sharing against one plain forward pass per prompt.

    python scripts/bench_engine.py [--out benchmarks.json] [--queries 40]

Both ways run in one process on the same bundled model and texts, so their ratio means something on a noisy machine.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from selector.data.task import Task
from selector.inference.engine import InferenceEngine
from selector.lm.config import LanguageModelConfig
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.lm.loading import load_language_model
from selector.types import Example, Selection

Workload = tuple[list[Example], list[Selection]]


def workloads(task: Task, queries: int, seed: int = 0) -> dict[str, Workload]:
    """Builds the three shapes of work that the project's stages send to the engine."""
    rng = np.random.default_rng(seed)
    size = len(task.pool)
    shared = Selection.of(*map(int, rng.choice(size, 4, replace=False)))
    own = [Selection.of(*map(int, rng.choice(size, 4, replace=False))) for _ in range(queries)]
    mined = [(query, Selection.of(int(one))) for query in task.test[: queries // 8] for one in rng.choice(size, 8)]
    return {
        "shared demonstrations": (list(task.test[:queries]), [shared] * queries),
        "own demonstrations": (list(task.test[:queries]), own),
        "one-shot mining": ([query for query, _ in mined], [selection for _, selection in mined]),
    }


def plain_seconds(lm: HuggingFaceLanguageModel, prompts: list[str]) -> float:
    """Times one forward pass with last-position logits for each prompt, all labels read from it."""
    model, tokenizer = lm._model, lm._tokenizer  # the comparison needs the bare model
    start = time.perf_counter()
    with torch.inference_mode():
        for prompt in prompts:
            model(torch.tensor([tokenizer(prompt)["input_ids"]]), logits_to_keep=1)
    return time.perf_counter() - start


def main(
    out: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")] = Path("benchmarks.json"),
    queries: Annotated[int, typer.Option(help="Queries in each workload.")] = 40,
) -> None:
    """Runs every workload both ways and prints queries per second."""
    task = Task.load("rotten-tomatoes")
    lm = load_language_model(LanguageModelConfig(dtype="float32", device="cpu"))
    assert isinstance(lm, HuggingFaceLanguageModel)
    engine = InferenceEngine(lm, task.template, task.pool)
    figures = {}
    for name, (asked, selections) in workloads(task, queries).items():
        engine.score(asked[:4], selections[:4])  # warm-up
        before, start = lm.usage, time.perf_counter()
        engine.score(asked, selections)
        seconds, used = time.perf_counter() - start, lm.usage - before
        texts = [
            task.template.prompt([task.pool[index] for index in selection.indices], query)
            for query, selection in zip(asked, selections, strict=True)
        ]
        plain = plain_seconds(lm, texts)
        figures[name] = {
            "queries_per_second": len(asked) / seconds,
            "plain_queries_per_second": len(asked) / plain,
            "ratio": plain / seconds,
            "tokens_computed": used.tokens_computed,
            "tokens": used.tokens,
        }
        print(
            f"{name:24} {len(asked) / seconds:8.2f} q/s   plain {len(asked) / plain:8.2f} q/s   x {plain / seconds:.2f}"
        )
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
