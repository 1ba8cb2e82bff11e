"""Comparison of methods on the same queries, with what each of them cost.

Every method answers the same queries; per-query outcomes are kept, so that differences are paired. Methods with random
choices run once for each seed, and all methods once for each pool; runs are averaged per query. This module knows
pipelines, not how they were built, and that finished runs can be recalled, not where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selector.errors import TooFewExamplesError, UnknownLabelError, UnknownNameError, UsageError
from selector.evaluation.runs import Cells, Method, QueryOutcome, Reference, Row, refer_once, run_once
from selector.evaluation.statistics import Interval, PairedDifference, Values, accuracy_interval, paired_bootstrap
from selector.evaluation.verdict import Contender, Cost, Verdict, verdict_of
from selector.inference.engine import InferenceEngine
from selector.progress import SILENT, Progress
from selector.types import Example

# What goes into a comparison and comes out of it has one address.
__all__ = [
    "Comparison",
    "Entrants",
    "Method",
    "QueryOutcome",
    "Reference",
    "Row",
    "Summary",
    "compare",
    "compare_pools",
]


@dataclass(frozen=True)
class Entrants:
    """What is compared over one pool.

    Attributes:
        engine: The engine of all methods; its language model counts what they ask.
        methods: The methods.
        references: The LM-free references.
    """

    engine: InferenceEngine
    methods: Sequence[Method]
    references: Sequence[Reference] = ()

    @property
    def names(self) -> list[str]:
        """The names of methods and references."""
        return [own.name for own in self.methods] + [own.name for own in self.references]


@dataclass(frozen=True)
class Summary:
    """A method over all its seeds and pools.

    Attributes:
        method: Its name.
        uses_lm: Whether it asks the language model.
        accuracy: Mean and interval over queries, seeds and pools averaged per query.
        versus: The paired difference from the baseline, its p-value corrected for the number of methods (Holm, 1979);
            None for the baseline. That of an upper bound is not corrected, for it is no contender.
        tokens: Mean tokens of one run, without sharing or cache; training is not among them.
        seconds: Mean seconds of one run.
        training: Tokens asked of the language model to make it, once; None where nobody knows.
        by_pool: The mean accuracy on each pool.
    """

    method: str
    uses_lm: bool
    accuracy: Interval
    versus: PairedDifference | None
    tokens: float
    seconds: float
    training: float | None = 0.0
    by_pool: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Attributes:
        rows: All runs.
        summary: One entry for each method, best first.
        baseline: The method that the others are compared with.
        shots: Demonstrations in each prompt.
        verdict: Which method to use; None where nothing was compared.
    """

    rows: tuple[Row, ...]
    summary: tuple[Summary, ...]
    baseline: str
    shots: int
    verdict: Verdict | None = None

    def rows_of(self, method: str) -> list[Row]:
        """Finds the runs of a method.

        Args:
            method: Its name.

        Returns:
            One for each pool and seed.
        """
        return [row for row in self.rows if row.method == method]


def compare(
    engine: InferenceEngine,
    queries: Sequence[Example],
    *,
    methods: Sequence[Method],
    references: Sequence[Reference] = (),
    shots: int,
    seeds: Sequence[int] = (0,),
    baseline: str,
    cells: Cells | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Lets methods and references answer the same queries.

    Args:
        engine: The engine of all methods; its language model counts what they ask.
        queries: Labelled queries.
        methods: The methods.
        references: The LM-free references.
        shots: Demonstrations in each prompt.
        seeds: Seeds of the methods with random choices; the others run once, with the first.
        baseline: The name of the method or reference that the others are compared with.
        cells: Where every run is kept when it is finished, and recalled from when it was; None forgets them.
        progress: Shows queries, a bar for each method.

    Returns:
        Rows and summary.

    Raises:
        UnknownNameError: When the baseline is not among the methods.
        UsageError: When a name or a seed occurs twice, or there is no seed.
        TooFewExamplesError: When there are no queries, or too few demonstrations for one.
        UnknownLabelError: When a query has no label or one that cannot be answered.
    """
    entrants = Entrants(engine, methods, references)
    return compare_pools(
        [entrants], queries, shots=shots, seeds=seeds, baseline=baseline, cells=cells, progress=progress
    )


def compare_pools(
    pools: Sequence[Entrants],
    queries: Sequence[Example],
    *,
    shots: int,
    seeds: Sequence[int] = (0,),
    baseline: str,
    cells: Cells | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Lets the same methods and references answer the same queries, once over each pool.

    Args:
        pools: The same methods and references over each pool.
        queries: Labelled queries.
        shots: Demonstrations in each prompt.
        seeds: See `compare`.
        baseline: See `compare`.
        cells: See `compare`; the identity of each method names its pool.
        progress: Shows queries, a bar for each method and pool.

    Returns:
        Rows and summary, over all pools.

    Raises:
        UnknownNameError: When the baseline is not among the methods.
        UsageError: When a name or a seed occurs twice, there is no seed, or pools differ in their methods.
        TooFewExamplesError: When there are no queries, or too few demonstrations for one.
        UnknownLabelError: When a query has no label or one that cannot be answered.
    """
    first = _check_pools(pools)
    methods = first.methods
    bounds = {method.name for method in methods if method.upper_bound}
    _check_names(first.names, baseline)
    _check_no_bound(baseline, bounds)
    _check_seeds(seeds)
    _check_queries(first.engine, queries)
    rows: list[Row] = []
    for number, own in enumerate(pools):
        where = "compare" if len(pools) == 1 else f"compare, pool {number}"
        answered = _answered(own, queries, shots=shots, seeds=seeds, cells=cells, progress=progress, where=where)
        rows += [replace(row, pool=number) for row in answered]
    values = {name: _per_query(rows, name) for name in dict.fromkeys(row.method for row in rows)}
    training = {method.name: method.training for method in methods}
    contenders = [
        Contender(name, own, _cost(rows, name, training.get(name, 0.0)), upper_bound=name in bounds)
        for name, own in values.items()
    ]
    verdict = verdict_of(contenders, baseline=baseline)
    return Comparison(tuple(rows), _summaries(rows, values, verdict, training), baseline, shots, verdict)


def _answered(
    entrants: Entrants,
    queries: Sequence[Example],
    *,
    shots: int,
    seeds: Sequence[int],
    cells: Cells | None,
    progress: Progress,
    where: str,
) -> list[Row]:
    """Every run over one pool."""
    rows, engine = [], entrants.engine
    for method in entrants.methods:
        used = list(seeds) if method.seeded else list(seeds)[:1]
        with progress.track(f"{where}: {method.name}", len(queries) * len(used)) as advance:
            rows += [
                run_once(engine, queries, method, shots=shots, seed=seed, cells=cells, advance=advance) for seed in used
            ]
    for reference in entrants.references:
        with progress.track(f"{where}: {reference.name}", len(queries)) as advance:
            rows.append(refer_once(engine, queries, reference, shots=shots, cells=cells))
            advance(len(queries))
    return rows


def _check_pools(pools: Sequence[Entrants]) -> Entrants:
    if not pools or any(own.names != pools[0].names for own in pools):
        raise UsageError(
            f"{len(pools)} pools are compared, with {[own.names for own in pools]}",
            expected="at least one pool, and the same methods over each",
            remedy="Pass the same methods for every pool.",
        )
    return pools[0]


def _check_names(names: Sequence[str], baseline: str) -> None:
    if baseline not in names:
        raise UnknownNameError("baseline", baseline, known=names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        # Rows of one name would be averaged as if they were seeds.
        raise UsageError(f"several methods are named {twice[0]!r}", expected="distinct names", remedy="Rename one.")


def _check_no_bound(baseline: str, bounds: set[str]) -> None:
    if baseline in bounds:
        raise UsageError(
            f"the baseline is {baseline}, an upper bound", expected="a method", remedy="Choose another baseline."
        )


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"the seeds are {list(seeds)}", expected="at least one, all different", remedy="Correct them.")


def _check_queries(engine: InferenceEngine, queries: Sequence[Example]) -> None:
    if not queries:
        raise TooFewExamplesError(available=0, wanted=1, what="test queries")
    for query in queries:
        if query.label is None or not (engine.template.free_text or query.label in engine.template.answers_of(query)):
            raise UnknownLabelError(str(query.label), known=engine.template.answers_of(query), where="the template")


def _summaries(
    rows: Sequence[Row],
    values: Mapping[str, Values],
    verdict: Verdict,
    training: Mapping[str, float | None],
) -> tuple[Summary, ...]:
    differences = {standing.method: standing.versus_baseline for standing in verdict.standings}
    summaries = []
    for name, own in values.items():
        bound = name not in differences
        summaries.append(
            Summary(
                method=name,
                uses_lm=name in training,
                accuracy=accuracy_interval(own),
                versus=paired_bootstrap(own, values[verdict.baseline]) if bound else differences[name],
                tokens=_tokens(rows, name),
                seconds=float(np.mean([row.seconds for row in rows if row.method == name])),
                training=training.get(name, 0.0),
                by_pool=_by_pool([row for row in rows if row.method == name]),
            )
        )
    return tuple(sorted(summaries, key=lambda entry: -entry.accuracy.estimate))


def _by_pool(rows: Sequence[Row]) -> tuple[float, ...]:
    """Mean accuracy of one method's runs on each pool."""
    numbers = sorted({row.pool for row in rows})
    return tuple(float(np.mean([row.accuracy for row in rows if row.pool == number])) for number in numbers)


def _cost(rows: Sequence[Row], method: str, training: float | None) -> Cost:
    """Mean tokens of one run by what they were for."""
    phases = [row.phases for row in rows if row.method == method]
    return Cost(
        training=training,
        selection=float(np.mean([own.selecting.tokens + own.ordering.tokens for own in phases])),
        answering=float(np.mean([own.answering.tokens for own in phases])),
    )


def _tokens(rows: Sequence[Row], method: str) -> float:
    """Mean tokens of one run."""
    return float(np.mean([row.usage.tokens for row in rows if row.method == method]))


def _per_query(rows: Sequence[Row], method: str) -> Values:
    """(N,) correctness of each query, averaged over the method's seeds and pools."""
    runs = [[outcome.correct for outcome in row.outcomes] for row in rows if row.method == method]
    means: Values = np.array(runs, dtype=np.float64).mean(axis=0)
    return means
