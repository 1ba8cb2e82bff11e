"""What a warm-up gains on tasks that it was not trained on: few-shot answers before and after, on the same prompts.

Demonstrations are drawn at random for each query, the same before and after. This module knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from selector.data.task import Task
from selector.errors import TooFewExamplesError
from selector.evaluation.statistics import Interval, PairedDifference, Values, accuracy_interval, paired_bootstrap
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.pipeline import Pipeline
from selector.progress import SILENT, Progress
from selector.strategies.random import RandomSelector


@dataclass(frozen=True)
class HeldOutPlan:
    """How held-out tasks are measured.

    Attributes:
        shots: Demonstrations in each prompt.
        queries: Test queries of a task, at most.
        seeds: How many draws of demonstrations each query is answered with.
    """

    shots: int = 4
    queries: int = 100
    seeds: int = 2


@dataclass(frozen=True)
class Gain:
    """Few-shot accuracy before and after.

    Attributes:
        queries: How many.
        before: Accuracy of the base.
        after: Accuracy of the trained model.
        difference: After minus before, paired over queries.
    """

    queries: int
    before: Interval
    after: Interval
    difference: PairedDifference


def few_shot_outcomes(
    lm: LanguageModel, task: Task, *, plan: HeldOutPlan, scoring: str, progress: Progress = SILENT
) -> Values:
    """Answers a task's test queries behind random demonstrations of its pool.

    Args:
        lm: The language model.
        task: The task.
        plan: How it is measured.
        scoring: "direct", "ppl" or "channel".
        progress: Shows queries.

    Returns:
        (N,) share of right answers to each query over the seeds.

    Raises:
        TooFewExamplesError: When the task has no test queries, or too few demonstrations.
    """
    queries = task.test[: plan.queries]
    if not queries:
        raise TooFewExamplesError(available=0, wanted=1, what=f"test queries of {task.name!r}")
    engine = InferenceEngine(lm, task.template, task.pool, scoring=scoring)
    runs = []
    with progress.track(f"held out: {task.name}", len(queries) * plan.seeds) as advance:
        for seed in range(plan.seeds):
            pipeline = Pipeline(RandomSelector(task.pool, seed=seed), engine)
            answers = pipeline.predict(queries, plan.shots, advance=advance)
            runs.append(engine.right(queries, answers))
    outcomes: Values = np.mean(runs, axis=0)
    return outcomes


def gains(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> dict[str, Gain]:
    """Compares the outcomes of the same queries.

    Args:
        before: Task to (N,) outcomes of the base.
        after: Task to (N,) outcomes of the trained model.

    Returns:
        Task to gain; and "mean", in which every task weighs the same however many queries it has.
    """
    first = {name: np.asarray(own, dtype=np.float64) for name, own in before.items()}
    second = {name: np.asarray(after[name], dtype=np.float64) for name in before}
    found = {name: _gain(first[name], second[name]) for name in first}
    if found:
        tasks = [name for name, own in first.items() for _ in own]
        found["mean"] = _gain(*(np.concatenate(list(outcomes.values())) for outcomes in (first, second)), strata=tasks)
    return found


def gains_as_json(found: Mapping[str, Gain]) -> dict[str, Any]:
    """Turns gains into what JSON can write.

    Args:
        found: From `gains`.

    Returns:
        Task to fields.
    """
    return {name: asdict(gain) for name, gain in found.items()}


def gain_lines(found: Mapping[str, Gain]) -> list[str]:
    """Lays gains out.

    Args:
        found: From `gains`.

    Returns:
        Lines of Markdown.
    """
    lines = ["| held-out task | queries | before, % | after, % | after - before, points |", "|---|---|---|---|---|"]
    for name, own in found.items():
        delta, low, high = (100 * value for value in (own.difference.delta, own.difference.low, own.difference.high))
        cells = f"{100 * own.before.estimate:.1f} | {100 * own.after.estimate:.1f}"
        lines.append(f"| {name} | {own.queries} | {cells} | {delta:+.1f} [{low:+.1f}, {high:+.1f}] |")
    return lines


def _gain(before: Values, after: Values, *, strata: Sequence[str] | None = None) -> Gain:
    first, second = (accuracy_interval(values, strata=strata) for values in (before, after))
    return Gain(len(before), first, second, paired_bootstrap(after, before, strata=strata))
