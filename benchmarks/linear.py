"""Shows that cost grows with unique tokens, and that memory does not grow with work: 1x, 2x, 4x and 8x of workload (b).

    python -m benchmarks.linear

Writes linear.json and linear.svg beside the other results.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import typer

from benchmarks.machine import described, watched_memory
from benchmarks.workloads import own_demonstrations, shared_demonstrations, trec_corpus
from selector.inference.engine import InferenceEngine
from selector.lm.config import LanguageModelConfig
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.lm.loading import load_language_model

FACTORS = (1, 2, 4, 8)
RESULTS = Path(__file__).parent / "results"


def main(
    out: Annotated[Path, typer.Option(help="The folder for linear.json and linear.svg.")] = RESULTS,
    size: Annotated[int, typer.Option(help="Queries of 1x.")] = 20,
    memory_mib: Annotated[int, typer.Option(help="The memory budget, MiB.")] = 256,
) -> None:
    """Runs the workload at every size, each with nothing kept from the one before."""
    corpus = trec_corpus()
    lm = load_language_model(LanguageModelConfig(device="cpu", memory_mib=memory_mib))
    assert isinstance(lm, HuggingFaceLanguageModel)
    engine = InferenceEngine(lm, corpus.template, corpus.pool)
    (warm,) = shared_demonstrations(corpus, size=20)
    engine.score(warm.queries, warm.selections)
    rows = []
    for factor in FACTORS:
        lm._scores.forget()
        (call,) = own_demonstrations(corpus, size=size * factor)
        before, start = lm.usage, time.perf_counter()
        with watched_memory() as memory:
            engine.score(call.queries, call.selections)
        seconds, used = time.perf_counter() - start, lm.usage - before
        rows.append(
            {
                "factor": factor,
                "tokens_computed": used.tokens_computed,
                "seconds": seconds,
                "peak_memory_mib": memory[0] / 2**20,
            }
        )
        print(json.dumps(rows[-1]))
    out.mkdir(parents=True, exist_ok=True)
    result = {"memory_budget_mib": memory_mib, "source": corpus.source, "machine": described(), "rows": rows}
    (out / "linear.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draw(rows, memory_mib, out / "linear.svg")


def draw(rows: list[dict[str, float]], budget: int, path: Path) -> None:
    """Draws seconds and peak memory over computed tokens."""
    mpl.rcParams["svg.hashsalt"] = "shotsmith"
    tokens = np.array([row["tokens_computed"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    slope = float(tokens @ seconds / (tokens @ tokens))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(tokens, seconds, "o", label="measured")
    left.plot([0, tokens[-1]], [0, slope * tokens[-1]], label=f"{1 / slope:,.0f} tokens a second")
    left.set(xlabel="unique tokens", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    left.legend()
    right.plot(tokens, [row["peak_memory_mib"] for row in rows], "o-", label="peak beside the weights")
    right.axhline(budget, linestyle="--", color="gray", label="budget")
    right.set(xlabel="unique tokens", ylabel="MiB", xlim=(0, None), ylim=(0, None))
    right.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)
