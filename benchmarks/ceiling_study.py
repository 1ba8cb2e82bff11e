"""How much is left for a policy that chooses from a retriever's shortlist? Labels alone, without a language model.

    python -m benchmarks.epr_study --limit 60      trains the retrievers
    python -m benchmarks.ceiling_study --seeds 1   goes on where it was stopped
    python -m benchmarks.tables

A prompt's labels decide most of what a small model answers. So the study asks of a shortlist what rules over its labels
answer, from a vote of the nearest to a regression on what the retriever embeds, and how often the right label is there
at all: no choice among candidates shows a label that none of them bears.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from sklearn.linear_model import LogisticRegression

from benchmarks import SHARED_DATA
from benchmarks.epr_study import HERE
from benchmarks.policy_study import TASKS
from selector.data.task import Task
from selector.prompting.embedding_text import input_text
from selector.strategies.retriever import RetrieverSelector
from selector.types import Example

RESULT = HERE / "results" / "ceiling.json"
FEW, MANY = 8, 32  # demonstrations that EPR shows, and candidates that the policy chooses from
TEMPERATURE = 20.0  # similarities are multiplied by it, as in the retriever's loss
COLUMNS: Final = {
    "vote of 8": "vote of 8",
    "vote of 32": "vote of 32",
    "weighted vote of 32": "weighted by similarity",
    "regression": "regression on its embeddings",
    "gold among 8": "right label among 8",
    "gold among 32": "among 32",
}


def label_rules(task: Task, retriever: RetrieverSelector, queries: Sequence[Example]) -> dict[str, float]:
    """Measures what labels alone give.

    Args:
        task: The task.
        retriever: A trained retriever over its pool.
        queries: N labelled queries.

    Returns:
        Name of `COLUMNS` to the share of queries.
    """
    places = {label: place for place, label in enumerate(task.pool.labels)}
    labels = np.array([places[str(example.label)] for example in task.pool])  # (P,)
    gold = np.array([places[str(query.label)] for query in queries])  # (N,)
    asked = retriever.query_encoder.encode([input_text(query) for query in queries])  # (N, D)
    selections = retriever.select(queries, MANY)
    shown = np.array([labels[[*selection.indices[::-1]]] for selection in selections])  # (N, K), the nearest first
    scores = np.array([selection.scores[::-1] for selection in selections])
    fitted = LogisticRegression(max_iter=1000)
    fitted.fit(retriever.query_encoder.encode([input_text(example) for example in task.pool]), labels)
    answers = {
        "vote of 8": voted(shown[:, :FEW], np.ones_like(scores[:, :FEW]), len(places)),
        "vote of 32": voted(shown, np.ones_like(scores), len(places)),
        "weighted vote of 32": voted(shown, np.exp(TEMPERATURE * scores), len(places)),
        "regression": fitted.predict(asked),
    }
    found = {name: float((own == gold).mean()) for name, own in answers.items()}
    for name, count in (("gold among 8", FEW), ("gold among 32", MANY)):
        found[name] = float((shown[:, :count] == gold[:, None]).any(axis=1).mean())
    return found


def voted(shown: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], labels: int) -> np.ndarray[Any, Any]:
    """Lets labels vote.

    Args:
        shown: (N, K) labels, the nearest demonstration first.
        weights: (N, K) of the votes.
        labels: L, how many there are.

    Returns:
        (N,) the label with most weight; of two alike the one that was seen first.
    """
    counts = np.zeros((len(shown), labels))
    first = np.zeros((len(shown), labels))
    rows = np.arange(len(shown))
    for place in reversed(range(shown.shape[1])):
        counts[rows, shown[:, place]] += weights[:, place]
        first[rows, shown[:, place]] = -place
    best = np.isclose(counts, counts.max(axis=1, keepdims=True))
    return np.where(best, first, -np.inf).argmax(axis=1)


def ceiling_lines(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lays out the cells.

    Args:
        cells: Of ceiling.json.

    Returns:
        Lines of Markdown.
    """
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    lines = [f"| task | seeds x queries | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 2) + "|"]
    means = []
    for task in tasks:
        own = [cell for cell in cells if cell["task"] == task]
        means.append([100 * float(np.mean([cell[name] for cell in own])) for name in COLUMNS])
        numbers = " | ".join(f"{value:.1f}" for value in means[-1])
        lines.append(f"| {task} | {len(own)} x {own[0]['queries']} | {numbers} |")
    overall = " | ".join(f"**{value:.1f}**" for value in np.mean(means, axis=0))
    return [*lines, f"| **mean** | | {overall} |", ""]


def main(
    *,
    tasks: Annotated[str, typer.Option(help="Names of tasks.")] = ",".join(TASKS),
    seeds: Annotated[str, typer.Option(help="Seeds of the retrievers.")] = "0,1,2",
    work: Annotated[Path, typer.Option(help="Where the retrievers are kept.")] = HERE / ".work" / "epr",
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = RESULT,
) -> None:
    """Measures all tasks on their test queries."""
    cells: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []
    for seed in map(int, seeds.split(",")):
        for name in tasks.split(","):
            task = Task.load(name, seed=seed, data_dir=SHARED_DATA)
            retriever = RetrieverSelector.load(work / f"{name}-{seed}" / "epr", task.pool)
            weights = retriever.encoder.fingerprint
            if any((cell["task"], cell["seed"], cell["retriever"]) == (name, seed, weights) for cell in cells):
                continue
            cells = [cell for cell in cells if (cell["task"], cell["seed"]) != (name, seed)]
            rules = label_rules(task, retriever, task.test)
            cells.append({"task": name, "seed": seed, "retriever": weights, "queries": len(task.test), **rules})
            print(f"{name} {seed}: " + ", ".join(f"{rule} {share:.3f}" for rule, share in rules.items()), flush=True)
            out.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
