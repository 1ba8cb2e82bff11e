"""How much is left for a policy that chooses from a retriever's shortlist? What labels and the language model know.

    python -m benchmarks.epr_study --limit 60      trains the retrievers
    python -m benchmarks.ceiling_study --seeds 1   goes on where it was stopped
    python -m benchmarks.tables

A prompt's labels decide most of what a small model answers. So the study asks of a shortlist what rules over its labels
answer, from a vote of the nearest to a regression on what the retriever embeds, and how often the right label is there
at all: no choice among candidates shows a label that none of them bears. The last rule asks the language model too: it
weighs the vote, the answer behind EPR's demonstrations and the answer without any as the dev queries teach it, which
is all that a policy with features of the language model could know of a query.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from benchmarks import SHARED_DATA
from benchmarks.epr_study import HERE
from benchmarks.policy_study import TASKS
from selector.data.task import Task
from selector.prompting.embedding_text import input_text
from selector.strategies.retriever import RetrieverSelector
from selector.types import Example, Selection
from selector.workspace import Workspace

RESULT = HERE / "results" / "ceiling.json"
FEW, MANY = 8, 32  # demonstrations that EPR shows, and candidates that the policy chooses from
TEMPERATURE = 20.0  # similarities are multiplied by it, as in the retriever's loss
COLUMNS: Final = {
    "vote of 8": "vote of 8",
    "vote of 32": "vote of 32",
    "weighted vote of 32": "weighted by similarity",
    "regression": "regression on its embeddings",
    "combined": "combined with the language model",
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
        Name of `COLUMNS`, but "combined", to the share of queries.
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


def combined(workspace: Workspace, retriever: RetrieverSelector, queries: Sequence[Example]) -> float:
    """Measures what the vote and the language model know together.

    Args:
        workspace: The task.
        retriever: A trained retriever over its pool.
        queries: N labelled queries.

    Returns:
        The share of queries that a conditional logit (McFadden, 1974) over the label's share of the weighted vote, its
        log-probability behind EPR's demonstrations and without any is right for; fitted to the dev queries.
    """
    dev = workspace.task.dev
    (known, right), (asked, gold) = (_evidence(workspace, retriever, part) for part in (dev, queries))

    def loss(weights: np.ndarray[Any, Any]) -> float:
        scores = known @ weights  # (N, L)
        return float((logsumexp(scores, axis=1) - scores[np.arange(len(right)), right]).mean())

    weights = minimize(loss, np.ones(known.shape[-1])).x
    return float(((asked @ weights).argmax(axis=1) == gold).mean())


def _evidence(
    workspace: Workspace, retriever: RetrieverSelector, queries: Sequence[Example]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(N, L, 3) what is known of each label, and (N,) the columns of the gold labels."""
    engine, pool, labels = workspace.engine, workspace.task.pool, workspace.task.template.labels
    votes = np.full((len(queries), len(labels)), 1e-3)
    for row, selection in enumerate(retriever.select(queries, MANY)):
        for index, score in zip(selection.indices, selection.scores, strict=True):
            votes[row, labels.index(str(pool[index].label))] += np.exp(TEMPERATURE * score)
    behind = engine.score(queries, retriever.select(queries, FEW))
    alone = engine.score(queries, [Selection.of()] * len(queries))
    columns = [one - logsumexp(one, axis=1, keepdims=True) for one in (np.log(votes), behind, alone)]
    return np.stack(columns, axis=-1), engine.gold_columns(queries)


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
        # Cells of an older version have no last rule.
        found = [[100 * cell[name] for cell in own if name in cell] for name in COLUMNS]
        means.append([float(np.mean(values)) if values else np.nan for values in found])
        lines.append(f"| {task} | {len(own)} x {own[0]['queries']} | {' | '.join(_shown(means[-1]))} |")
    overall = " | ".join(f"**{value}**" for value in _shown(np.mean(means, axis=0)))
    return [*lines, f"| **mean** | | {overall} |", ""]


def _shown(values: Sequence[float]) -> list[str]:
    return ["-" if np.isnan(value) else f"{value:.1f}" for value in values]


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
            if any(
                (one["task"], one["seed"], one["retriever"]) == (name, seed, weights) and "combined" in one
                for one in cells
            ):
                continue
            cells = [cell for cell in cells if (cell["task"], cell["seed"]) != (name, seed)]
            rules = label_rules(task, retriever, task.test)
            rules["combined"] = combined(Workspace(task), retriever, task.test)
            cells.append({"task": name, "seed": seed, "retriever": weights, "queries": len(task.test), **rules})
            print(f"{name} {seed}: " + ", ".join(f"{rule} {share:.3f}" for rule, share in rules.items()), flush=True)
            out.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
