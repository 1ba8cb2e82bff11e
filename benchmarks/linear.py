"""Shows that cost grows with unique tokens, and that memory does not grow with work: 1x, 2x, 4x and 8x of workload (b).

    python -m benchmarks.linear

Each size runs in a fresh process, with memory counted from right after the model was loaded, and in several calls, so
that kept prefixes fill their share of the budget. Writes linear.json and linear.svg beside the other results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import typer

from benchmarks.fresh import measured_afresh
from benchmarks.machine import described
from benchmarks.workloads import trec_corpus

FACTORS = (1, 2, 4, 8)
CALLS = 4  # of 1x; the arena of kept prefixes takes its whole share from the second call on
WORKLOAD = "b own demonstrations"
RESULTS = Path(__file__).parent / "results"


def main(
    out: Annotated[Path, typer.Option(help="The folder for linear.json and linear.svg.")] = RESULTS,
    size: Annotated[int, typer.Option(help="Queries of 1x.")] = 20,
    memory_mib: Annotated[int, typer.Option(help="The memory budget, MiB.")] = 256,
) -> None:
    """Runs the workload at every size."""
    rows: list[dict[str, Any]] = []
    for factor in FACTORS:
        row = measured_afresh(WORKLOAD, size=size * factor, pieces=CALLS * factor, memory_mib=memory_mib)
        rows.append({"factor": factor, **row})
        print(json.dumps(rows[-1]), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    result = {
        "memory_budget_mib": memory_mib,
        "memory_counted_from": "right after loading the model, one fresh process for each factor",
        "peak_below_budget_at_every_factor": all(row["peak_below_budget"] for row in rows),
        "source": trec_corpus().source,
        "machine": described(),
        "rows": rows,
    }
    (out / "linear.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draw(rows, memory_mib, out / "linear.svg")


def draw(rows: list[dict[str, Any]], budget: int, path: Path) -> None:
    """Draws seconds and peak memory over computed tokens; other work on the machine shows in the clock only."""
    mpl.rcParams["svg.hashsalt"] = "shotsmith"
    tokens = np.array([row["tokens_computed"] for row in rows])
    clock, processor = (np.array([row[name] for row in rows]) for name in ("seconds", "processor_seconds"))
    slope = float(tokens @ processor / (tokens @ tokens))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(tokens, clock, "x", color="gray", label="by the clock")
    left.plot(tokens, processor, "o", label="of the processor")
    left.plot([0, tokens[-1]], [0, slope * tokens[-1]], label=f"{1 / slope:,.0f} tokens a processor second")
    left.set(xlabel="unique tokens", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    left.legend()
    right.plot(tokens, [row["peak_memory_mib"] for row in rows], "o-", label="peak beside the weights")
    right.plot(tokens, [row["kept_prefixes_mib_at_the_end"] for row in rows], "s:", label="of it kept prefixes")
    right.axhline(budget, linestyle="--", color="gray", label="budget")
    right.set(xlabel="unique tokens", ylabel="MiB", xlim=(0, None), ylim=(0, None))
    right.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)
