"""Comparison of methods on the same queries, with what each of them cost.

Every method answers the same queries; per-query outcomes are kept, so that differences are paired. Methods with random
choices run once for each seed and are averaged per query. This module knows pipelines, not how they were built.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from selector.errors import TooFewExamplesError, UnknownLabelError, UnknownNameError, UsageError
from selector.evaluation.statistics import Interval, PairedDifference, Values, bootstrap_interval, paired_bootstrap
from selector.evaluation.verdict import Contender, Cost, Verdict, verdict_of
from selector.inference.engine import InferenceEngine
from selector.inference.free_text import exact_match
from selector.lm.base import Usage
from selector.pipeline import Pipeline
from selector.progress import SILENT, Progress
from selector.types import Example, Prediction


@dataclass(frozen=True)
class Method:
    """A method that answers with demonstrations.

    Attributes:
        name: As it stands in tables.
        build: Seed to pipeline.
        seeded: Whether the seed changes what it chooses; else it runs once.
        orderer: The name of its orderer.
        upper_bound: Whether it knows what no method can know, as the oracle does; no verdict recommends it.
    """

    name: str
    build: Callable[[int], Pipeline]
    seeded: bool = False
    orderer: str = "given"
    upper_bound: bool = False


@dataclass(frozen=True)
class Reference:
    """A reference that answers without a language model.

    Attributes:
        name: As it stands in tables.
        answer: Queries to labels.
    """

    name: str
    answer: Callable[[Sequence[Example]], list[str]]


@dataclass(frozen=True)
class QueryOutcome:
    """What a method answered to a query.

    Attributes:
        uid: Of the query.
        gold: Its label; where another text is as right and was answered, that text.
        predicted: The answer.
        demonstrations: Uids in prompt order, as really shown.
        probabilities: Of every label; empty for references and where targets are free text.
        free_text: Whether answers are free texts, which case and white space do not make wrong.
    """

    uid: str
    gold: str
    predicted: str
    demonstrations: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    free_text: bool = False

    @property
    def correct(self) -> bool:
        """Whether the answer is the gold one."""
        return exact_match(self.predicted, self.gold) if self.free_text else self.predicted == self.gold


@dataclass(frozen=True)
class Row:
    """One run of one method.

    Attributes:
        method: Its name.
        orderer: Its orderer's name.
        shots: Demonstrations in each prompt.
        seed: The seed.
        outcomes: One for each query.
        usage: What selecting, ordering and answering asked of the language model.
        seconds: Wall time.
    """

    method: str
    orderer: str
    shots: int
    seed: int
    outcomes: tuple[QueryOutcome, ...]
    usage: Usage
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.mean([outcome.correct for outcome in self.outcomes]))


@dataclass(frozen=True)
class Summary:
    """A method over all its seeds.

    Attributes:
        method: Its name.
        uses_lm: Whether it asks the language model.
        accuracy: Mean and interval over queries, seeds averaged per query.
        versus: The paired difference from the baseline, its p-value corrected for the number of methods (Holm, 1979);
            None for the baseline. That of an upper bound is not corrected, for it is no contender.
        tokens: Mean tokens of one run, without sharing or cache.
        seconds: Mean seconds of one run.
    """

    method: str
    uses_lm: bool
    accuracy: Interval
    versus: PairedDifference | None
    tokens: float
    seconds: float


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


def compare(
    engine: InferenceEngine,
    queries: Sequence[Example],
    *,
    methods: Sequence[Method],
    references: Sequence[Reference] = (),
    shots: int,
    seeds: Sequence[int] = (0,),
    baseline: str,
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
        progress: Shows queries, a bar for each method.

    Returns:
        Rows and summary.

    Raises:
        UnknownNameError: When the baseline is not among the methods.
        UsageError: When a name or a seed occurs twice, or there is no seed.
        TooFewExamplesError: When there are no queries, or too few demonstrations for one.
        UnknownLabelError: When a query has no label or one that cannot be answered.
    """
    bounds = {method.name for method in methods if method.upper_bound}
    _check_names([*(method.name for method in methods), *(reference.name for reference in references)], baseline)
    if baseline in bounds:
        raise UsageError(
            f"the baseline is {baseline}, an upper bound", expected="a method", remedy="Choose another baseline."
        )
    _check_seeds(seeds)
    _check_queries(engine, queries)
    rows = []
    for method in methods:
        used = list(seeds) if method.seeded else list(seeds)[:1]
        with progress.track(f"compare: {method.name}", len(queries) * len(used)) as advance:
            rows += [_run(engine, queries, method, shots=shots, seed=seed, advance=advance) for seed in used]
    for reference in references:
        with progress.track(f"compare: {reference.name}", len(queries)) as advance:
            rows.append(_refer(queries, reference, shots=shots, free_text=engine.template.free_text))
            advance(len(queries))
    lm_free = {reference.name for reference in references}
    values = {name: _per_query(rows, name) for name in dict.fromkeys(row.method for row in rows)}
    contenders = [
        Contender(name, own, Cost(answering=_tokens(rows, name)), upper_bound=name in bounds)
        for name, own in values.items()
    ]
    verdict = verdict_of(contenders, baseline=baseline)
    return Comparison(tuple(rows), _summaries(rows, values, verdict, lm_free), baseline, shots, verdict)


def _check_names(names: Sequence[str], baseline: str) -> None:
    if baseline not in names:
        raise UnknownNameError("baseline", baseline, known=names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        # Rows of one name would be averaged as if they were seeds.
        raise UsageError(f"several methods are named {twice[0]!r}", expected="distinct names", remedy="Rename one.")


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"the seeds are {list(seeds)}", expected="at least one, all different", remedy="Correct them.")


def _check_queries(engine: InferenceEngine, queries: Sequence[Example]) -> None:
    if not queries:
        raise TooFewExamplesError(available=0, wanted=1, what="test queries")
    for query in queries:
        if query.label is None or not (engine.template.free_text or query.label in engine.template.answers_of(query)):
            raise UnknownLabelError(str(query.label), known=engine.template.answers_of(query), where="the template")


def _run(
    engine: InferenceEngine,
    queries: Sequence[Example],
    method: Method,
    *,
    shots: int,
    seed: int,
    advance: Callable[[int], None],
) -> Row:
    before, start = engine.lm.usage, time.monotonic()
    predictions = method.build(seed).predict(queries, shots, advance=advance)
    outcomes = tuple(_outcome(engine, query, own) for query, own in zip(queries, predictions, strict=True))
    usage = engine.lm.usage - before
    return Row(method.name, method.orderer, shots, seed, outcomes, usage, time.monotonic() - start)


def _outcome(engine: InferenceEngine, query: Example, prediction: Prediction) -> QueryOutcome:
    shown = tuple(engine.pool[index].uid for index in prediction.selection.indices)
    return QueryOutcome(
        query.uid,
        engine.matched_gold(query, prediction.label),
        prediction.label,
        shown,
        prediction.probabilities,
        free_text=engine.template.free_text,
    )


def _refer(queries: Sequence[Example], reference: Reference, *, shots: int, free_text: bool) -> Row:
    start = time.monotonic()
    answers = reference.answer(queries)
    outcomes = tuple(
        QueryOutcome(query.uid, str(query.label), answer, free_text=free_text)
        for query, answer in zip(queries, answers, strict=True)
    )
    return Row(reference.name, "none", shots, 0, outcomes, Usage(), time.monotonic() - start)


def _summaries(
    rows: Sequence[Row], values: Mapping[str, Values], verdict: Verdict, lm_free: set[str]
) -> tuple[Summary, ...]:
    differences = {standing.method: standing.versus_baseline for standing in verdict.standings}
    summaries = []
    for name, own in values.items():
        bound = name not in differences
        summaries.append(
            Summary(
                method=name,
                uses_lm=name not in lm_free,
                accuracy=bootstrap_interval(own),
                versus=paired_bootstrap(own, values[verdict.baseline]) if bound else differences[name],
                tokens=_tokens(rows, name),
                seconds=float(np.mean([row.seconds for row in rows if row.method == name])),
            )
        )
    return tuple(sorted(summaries, key=lambda entry: -entry.accuracy.estimate))


def _tokens(rows: Sequence[Row], method: str) -> float:
    """Mean tokens of one run."""
    return float(np.mean([row.usage.tokens for row in rows if row.method == method]))


def _per_query(rows: Sequence[Row], method: str) -> Values:
    """(N,) correctness of each query, averaged over the method's seeds."""
    runs = [[outcome.correct for outcome in row.outcomes] for row in rows if row.method == method]
    means: Values = np.array(runs, dtype=np.float64).mean(axis=0)
    return means
