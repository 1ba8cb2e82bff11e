"""Direct, perplexity or channel scoring, and which calibration, on balanced and unbalanced demonstrations?

    python -m benchmarks.scoring_study                  goes on where it was stopped
    python -m benchmarks.scoring_study --sets 1 --settings "sst2;sst2, 9 to 1"

A set of random demonstrations stands before all queries. The artificial setting keeps all of one label in the pool,
each label in turn, and so few of the others that they are a tenth of it; its queries stay as they are. Label scores are
asked once for each scoring function and calibrated in every way. What counts is balanced accuracy: every label weighs
alike. Intervals hold for other sets and other queries: both are resampled.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks.studied_tasks import studied_task
from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import UsageError
from selector.evaluation.statistics import ROUNDS, Interval, Values
from selector.inference.calibration import (
    CONTENT_FREE,
    Scores,
    batch_calibrated,
    contextually_calibrated,
    domain_calibrated,
    domain_inputs,
)
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.types import Example, Query, Selection
from selector.workspace import Workspace

HERE: Final = Path(__file__).parent
SCORINGS: Final = ("direct", "ppl", "channel")
CALIBRATIONS: Final = ("none", "contextual", "domain", "batch")
# Name to task and, where the pool is made unbalanced, the share of the labels that become rare.
SETTINGS: Final[Mapping[str, tuple[str, float | None]]] = {
    "sst2": ("sst2", None),
    "sst2, 9 to 1": ("sst2", 0.1),
    "agnews": ("agnews", None),
    "sms_spam": ("sms_spam", None),
    "cb": ("cb", None),
}


@dataclass(frozen=True)
class ScoringStudyConfig:
    """What is the same for every cell, and must be when a stopped study goes on.

    Attributes:
        shots: Demonstrations.
        queries: Test queries.
        seed: Of sets and random words.
    """

    shots: int = 8
    queries: int = 60
    seed: int = 0


def unbalanced(pool: Pool, *, majority: str, share: float, seed: int) -> Pool:
    """Makes all labels but one rare.

    Args:
        pool: A pool.
        majority: The label all of whose members stay.
        share: What the other labels together make up of the result.
        seed: Seeds which of their members stay.

    Returns:
        The smaller pool, in the order of the first.
    """
    kept = [place for place, one in enumerate(pool) if one.label == majority]
    others = [place for place, one in enumerate(pool) if one.label != majority]
    count = min(len(others), max(1, round(len(kept) * share / (1 - share))))
    drawn = np.random.default_rng(seed).choice(others, count, replace=False)
    return pool.subset(sorted([*kept, *map(int, drawn)]))


def calibrated(
    engine: InferenceEngine, queries: Sequence[Query], selection: Selection, *, seed: int
) -> dict[str, Scores]:
    """Scores queries behind one set and calibrates the scores in every way.

    Args:
        engine: Without calibration of its own.
        queries: N queries.
        selection: The set.
        seed: Of the random words.

    Returns:
        Calibration to (N, L) scores.
    """
    names = queries[0].fields
    blank = [Example(f"blank-{at}", dict.fromkeys(names, text)) for at, text in enumerate(CONTENT_FREE)]
    made = domain_inputs([row.fields for row in engine.pool], seed=seed)
    words = [Example(f"words-{at}", {name: fields[name] for name in names}) for at, fields in enumerate(made)]
    asked = [*queries, *blank, *words]
    scores = engine.score(asked, [selection] * len(asked))
    own, free, domain = np.split(scores, [len(queries), len(queries) + len(blank)])
    return {
        "none": own,
        "contextual": contextually_calibrated(own, free[None]),
        "domain": domain_calibrated(own, domain[None]),
        "batch": batch_calibrated(own),
    }


class ScoringStudy:
    """All cells; each is written as soon as it is measured.

    Args:
        config: What is the same for every cell.
        out: Where the result goes.

    Raises:
        UsageError: When the result that is there was made otherwise.
    """

    def __init__(self, config: ScoringStudyConfig, *, out: Path) -> None:
        self.config = config
        self.out = out
        self.result: dict[str, Any] = {"config": asdict(config), "gold": {}, "cells": []}
        if out.is_file():
            self.result = json.loads(out.read_text(encoding="utf-8"))
            if self.result["config"] != asdict(config):
                raise UsageError(
                    f"{out} was made with other settings ({self.result['config']})",
                    expected=str(asdict(config)),
                    remedy="Pass the same options, or another --out.",
                )

    def run(self, setting: str, task: Task, lm: LanguageModel, *, number: int) -> None:
        """Measures one set of one setting, as far as it is not measured yet.

        Args:
            setting: One of `SETTINGS`.
            task: Its task.
            lm: The language model.
            number: Of the set.

        Raises:
            UsageError: When the cells that are there were measured with another language model.
        """
        known = self.result.setdefault("lm", None if self.result["cells"] else lm.fingerprint)
        if known != lm.fingerprint:
            raise UsageError(
                f"{self.out} was measured with the language model {known}",
                expected=lm.fingerprint,
                remedy="Name the same language model, or another --out.",
            )
        queries = task.test[: self.config.queries]
        self.result["gold"][setting] = [query.label for query in queries]
        done = {(cell["setting"], cell["set"], cell["scoring"]) for cell in self.result["cells"]}
        share, pool = SETTINGS[setting][1], task.pool
        if share is not None:
            majority = pool.labels[number % len(pool.labels)]
            pool = unbalanced(pool, majority=majority, share=share, seed=self.config.seed)
        rng = np.random.default_rng([self.config.seed, number])
        chosen = Selection.of(*map(int, rng.choice(len(pool), self.config.shots, replace=False)))
        for scoring in SCORINGS:
            if (setting, number, scoring) in done:
                continue
            before, start = lm.usage, time.monotonic()
            engine = InferenceEngine(lm, task.template, pool, scoring=scoring)
            found = calibrated(engine, queries, chosen, seed=self.config.seed)
            cell = {
                "setting": setting,
                "set": number,
                "scoring": scoring,
                "labels": dict(Counter(str(pool[index].label) for index in chosen.indices)),
                "answers": {name: [engine.labels[at] for at in own.argmax(axis=1)] for name, own in found.items()},
                "tokens_computed": (lm.usage - before).tokens_computed,
                "seconds": round(time.monotonic() - start, 1),
            }
            self.result["cells"].append(cell)
            self._write()
            print(f"{setting}, set {number}, {scoring}: {cell['seconds']} s", flush=True)

    def _write(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        part = self.out.with_suffix(".part")  # a kill while writing must not cost the cells that are done
        part.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        part.replace(self.out)


def outcomes(result: Mapping[str, Any], setting: str, scoring: str, calibration: str) -> Values:
    """Computes the outcome of each query behind each set, so that their mean is the balanced accuracy.

    Args:
        result: Of scoring.json.
        setting: One of `SETTINGS`.
        scoring: One of `SCORINGS`.
        calibration: One of `CALIBRATIONS`.

    Returns:
        (S, N) 1 for a right answer, times the weight of the query's label; sets in the order of their numbers.
    """
    gold = result["gold"][setting]
    counts = Counter(gold)
    weights = np.array([len(gold) / (len(counts) * counts[label]) for label in gold])
    cells = [cell for cell in result["cells"] if (cell["setting"], cell["scoring"]) == (setting, scoring)]
    right = [
        [answer == label for answer, label in zip(cell["answers"][calibration], gold, strict=True)]
        for cell in sorted(cells, key=lambda cell: cell["set"])
    ]
    own: Values = np.array(right, dtype=np.float64) * weights
    return own


def two_way_bootstrap(values: Values, *, rounds: int = ROUNDS, seed: int = 0) -> Interval:
    """Gives the mean of a table and its percentile interval when rows and columns are both drawn (Owen, 2007).

    It errs on the wide side. Drawing queries alone ignores that other sets give another difference, and drawing sets
    alone gives too narrow an interval where there are few.

    Args:
        values: (S, N) a row for each set of demonstrations, a column for each query.
        rounds: Resamples.
        seed: Seeds them.

    Returns:
        The interval.
    """
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(size, np.full(size, 1 / size), rounds) / size for size in values.shape)
    low, high = np.percentile(np.einsum("rs,sn,rn->r", rows, values, columns, optimize=True), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def table(result: Mapping[str, Any]) -> list[str]:
    """Lays the study out.

    Args:
        result: Of scoring.json; settings without all scoring functions are left out.

    Returns:
        Lines of Markdown.
    """
    lines = [
        "| demonstrations | calibration | sets x queries | direct | ppl | channel | channel - direct |",
        "|---" * 7 + "|",
    ]
    for setting, gold in result["gold"].items():
        sets = [cell["scoring"] for cell in result["cells"] if cell["setting"] == setting]
        if len(set(sets)) < len(SCORINGS) or len(set(Counter(sets).values())) > 1:
            continue
        for calibration in CALIBRATIONS:
            rows = {scoring: outcomes(result, setting, scoring, calibration) for scoring in SCORINGS}
            cells = " | ".join(f"{100 * rows[scoring].mean():.1f}" for scoring in SCORINGS)
            gain = two_way_bootstrap(rows["channel"] - rows["direct"])
            difference = f"{100 * gain.estimate:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            size = f"{len(sets) // len(SCORINGS)} x {len(gold)}"
            lines.append(f"| {setting} | {calibration} | {size} | {cells} | {difference} |")
    return [*lines, ""]


def main(
    *,
    settings: Annotated[str, typer.Option(help="Settings, parted by semicolons.")] = ";".join(SETTINGS),
    sets: Annotated[int, typer.Option(min=1, help="Random sets of demonstrations.")] = 6,
    shots: Annotated[int, typer.Option(help="Demonstrations in a set.")] = ScoringStudyConfig.shots,
    queries: Annotated[int, typer.Option(help="Test queries.")] = ScoringStudyConfig.queries,
    seed: Annotated[int, typer.Option(help="Of sets and random words.")] = ScoringStudyConfig.seed,
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = HERE / "results" / "scoring.json",
) -> None:
    """Runs the study, all settings with the first set first."""
    study = ScoringStudy(ScoringStudyConfig(shots=shots, queries=queries, seed=seed), out=out)
    tasks = {name: studied_task(SETTINGS[name][0]) for name in settings.split(";")}
    first = next(iter(tasks.values()))
    lm = Workspace(replace(first, lm=replace(first.lm, calibration="none"))).engine.lm
    for number in range(sets):
        for name, task in tasks.items():
            study.run(name, task, lm, number=number)
    print("\n".join(table(study.result)))


if __name__ == "__main__":
    typer.run(main)
