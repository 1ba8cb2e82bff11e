"""Which method to use: a plain sentence over what methods answered and what they cost.

Of the methods that are not significantly worse than the best one, the cheapest is recommended; a method whose training
nobody counted is dearer than all whose cost is known. Pure functions; they know nothing of pipelines or files. A
difference that is not significant is not shown to be none: with few queries everything passes, and the cheapest wins.
The best method is found on the same queries that it is tested on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from selector.errors import UnknownNameError, UsageError
from selector.evaluation.significance import CorrectedTest, compared_with
from selector.evaluation.statistics import ROUNDS, PairedDifference, Values, paired_bootstrap

ALPHA: Final = 0.05
AHEAD: Final = 0.05  # from which a lead that is not significant is told all the same, so that nobody takes it for none


@dataclass(frozen=True)
class Cost:
    """What a method asks of the language model, tokens, without sharing or cache.

    Attributes:
        training: To make it, once; None where nobody knows.
        selection: To choose and order the demonstrations of all queries.
        answering: To answer them.
    """

    training: float | None = 0.0
    selection: float = 0.0
    answering: float = 0.0

    @property
    def total(self) -> float:
        """All tokens; infinity where training is unknown, which is then dearer than whatever is known."""
        return math.inf if self.training is None else self.training + self.selection + self.answering


@dataclass(frozen=True, eq=False)
class Contender:
    """A method that could be recommended.

    Attributes:
        name: As it stands in the sentence.
        values: (N,) one value for each query, from 0 to 1, higher is better; average seeds first.
        cost: What it asks of the language model.
        upper_bound: Whether it knows what no method can know, as the oracle does; it is never recommended.
    """

    name: str
    values: Values
    cost: Cost
    upper_bound: bool = False

    @property
    def mean(self) -> float:
        """The mean over queries."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Standing:
    """How one method stands.

    Attributes:
        method: Its name.
        mean: The mean over queries.
        tokens: All language-model tokens of it; infinity where what its training asked is unknown.
        versus_baseline: Difference from the baseline; its interval is for this pair alone, its p-value is Holm's over
            all methods. None for the baseline.
        versus_best: The test against the best method, with Holm's p-value over all methods; None for the best. For the
            baseline the p-value is that of the best method's `versus_baseline`: one pair has one p-value.
    """

    method: str
    mean: float
    tokens: float
    versus_baseline: PairedDifference | None
    versus_best: CorrectedTest | None


@dataclass(frozen=True)
class Verdict:
    """Which method to use, and why.

    Attributes:
        sentence: The verdict in words.
        recommended: The method to use.
        best: The method of the highest mean; of several the cheapest.
        baseline: The method that the others are compared with.
        not_worse: The methods that are not significantly worse than the best one, which is among them; cheapest first.
        standings: All methods but the upper bounds, highest mean first.
        upper_bounds: The methods that were left out, by name.
        queries: How many queries were answered.
        alpha: The level of significance.
    """

    sentence: str
    recommended: str
    best: str
    baseline: str
    not_worse: tuple[str, ...]
    standings: tuple[Standing, ...]
    upper_bounds: tuple[str, ...]
    queries: int
    alpha: float


def verdict_of(
    contenders: Sequence[Contender], *, baseline: str, alpha: float = ALPHA, rounds: int = ROUNDS, seed: int = 0
) -> Verdict:
    """Recommends the cheapest of the methods that are not significantly worse than the best one.

    Tests are paired over queries and corrected by Holm (1979): once over all methods against the best one, which
    decides, and once over all against the baseline, which is reported and decides for the baseline. Upper bounds take
    part in neither. Of methods that cost the same, the one of the higher mean is recommended.

    Args:
        contenders: All methods, in any order: the verdict is the same.
        baseline: The method that the others are compared with.
        alpha: The level of significance.
        rounds: Resamples of the intervals, and swaps of the tests.
        seed: Seeds both.

    Returns:
        The verdict.

    Raises:
        UnknownNameError: When the baseline is not among the methods, or is an upper bound.
        UsageError: When a name occurs twice, a cost is no number of 0 or more, or values do not fit each other.
    """
    _check(contenders, alpha)
    ranked = sorted((own for own in contenders if not own.upper_bound), key=_rank)
    standings = _standings(ranked, baseline, rounds=rounds, seed=seed)
    not_worse = [own.name for own in sorted(ranked, key=_price) if not _worse(standings[own.name], alpha)]
    best, chosen = ranked[0].name, not_worse[0]
    return Verdict(
        sentence=_sentence(standings, baseline, best=best, chosen=chosen, alpha=alpha, queries=len(ranked[0].values)),
        recommended=chosen,
        best=best,
        baseline=baseline,
        not_worse=tuple(not_worse),
        standings=tuple(standings.values()),
        upper_bounds=tuple(sorted(own.name for own in contenders if own.upper_bound)),
        queries=len(ranked[0].values),
        alpha=alpha,
    )


def _check(contenders: Sequence[Contender], alpha: float) -> None:
    names = [own.name for own in contenders]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"several methods are named {twice[0]!r}", expected="distinct names", remedy="Rename one.")
    shapes = {own.values.shape for own in contenders}
    if len(shapes) > 1 or not all(own.values.ndim == 1 and own.values.size for own in contenders):
        raise UsageError(
            f"values have the shapes {sorted(shapes)}",
            expected="one value for each query, the same queries for all methods, at least one",
            remedy="Let all methods answer the same queries, and average seeds first.",
        )
    for own in contenders:
        parts = (own.cost.training or 0.0, own.cost.selection, own.cost.answering)
        if not all(math.isfinite(part) and part >= 0 for part in parts):
            raise UsageError(f"{own.name!r} costs {parts}", expected="tokens of 0 or more", remedy="Count them again.")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}", expected="a number between 0 and 1", remedy="Use 0.05.")


def _rank(contender: Contender) -> tuple[float, float, str]:
    """Sorts by mean, highest first; of equal ones the cheaper, then the name. Rounding makes no two means differ."""
    return -round(contender.mean, 12), contender.cost.total, contender.name


def _price(contender: Contender) -> tuple[float, float, str]:
    """Sorts by tokens; of equal ones the higher mean, then the name."""
    return contender.cost.total, -round(contender.mean, 12), contender.name


def _standings(ranked: Sequence[Contender], baseline: str, *, rounds: int, seed: int) -> dict[str, Standing]:
    """Method to standing, best first."""
    outcomes = {own.name: own.values for own in ranked}
    if baseline not in outcomes:
        raise UnknownNameError("baseline", baseline, known=list(outcomes))
    best = ranked[0].name
    against_baseline = compared_with(outcomes, baseline, rounds=rounds, seed=seed)
    against_best = compared_with(outcomes, best, rounds=rounds, seed=seed)
    if best != baseline:
        # The two corrections could differ, and a table would then contradict the sentence.
        against_best[baseline] = replace(against_best[baseline], p=against_baseline[best].p)
    standings = {}
    for own in ranked:
        difference = None
        if own.name != baseline:
            interval = paired_bootstrap(own.values, outcomes[baseline], rounds=rounds, seed=seed)
            difference = replace(interval, p=against_baseline[own.name].p)
        standings[own.name] = Standing(own.name, own.mean, own.cost.total, difference, against_best.get(own.name))
    return standings


def _worse(standing: Standing, alpha: float) -> bool:
    return standing.versus_best is not None and standing.versus_best.significant(alpha)


def _sentence(
    standings: Mapping[str, Standing], baseline: str, *, best: str, chosen: str, alpha: float, queries: int
) -> str:
    if len(standings) == 1:
        return f"{baseline} is the only method; use {baseline}"
    parts = [_against_baseline(standings, baseline, best=best, chosen=chosen, alpha=alpha)]
    if chosen not in (best, baseline):
        parts.append(f"{best} is not significantly better than {chosen}")
    lead = standings[best].mean - standings[chosen].mean
    if lead >= AHEAD:
        parts.append(f"{best} is {100 * lead:.1f} points ahead, which {queries} queries are too few to trust")
    if chosen == best and any(own.tokens < standings[best].tokens for own in standings.values()):
        parts.append("every cheaper method is significantly worse")
    uncounted = [name for name, own in standings.items() if math.isinf(own.tokens) and not _worse(own, alpha)]
    if uncounted:
        parts.append(f"what training {' and '.join(uncounted)} cost is unknown")
    return "; ".join([*parts, f"use {chosen}"])


def _against_baseline(standings: Mapping[str, Standing], baseline: str, *, best: str, chosen: str, alpha: float) -> str:
    difference = standings[chosen].versus_baseline
    if difference is None:
        better = [name for name, own in standings.items() if _better(own.versus_baseline, alpha)]
        if not better:
            return f"no method is significantly better than {baseline}"
        also = f"{' and '.join(better)} {'is' if len(better) == 1 else 'are'}"
        return f"{best}, the best, is not significantly better than {baseline}, though {also}"
    delta, low, high = (round(100 * value, 1) + 0.0 for value in (difference.delta, difference.low, difference.high))
    doubt = "" if difference.p <= alpha else ", not significant"
    return (
        f"{chosen}: {delta:+.1f} [{low:.1f}, {high:.1f}] points {'over' if delta >= 0 else 'against'} {baseline}{doubt}"
    )


def _better(difference: PairedDifference | None, alpha: float) -> bool:
    return difference is not None and difference.delta > 0 and difference.p <= alpha
