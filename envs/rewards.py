"""What a set of demonstrations is worth, and the reward that follows from it.

The reward of a step is a difference of potentials, so the rewards of an episode add up to what the final set is worth
over none (Ng, Harada & Russell, 1999, potential-based shaping with discount 1). Paying all of it at the end has the
same return and asks the language model once per episode instead of once per step. Reward calls the engine that
evaluation calls; there is no second truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from selector.errors import UnknownNameError, UsageError
from selector.inference.calibration import log_softmax
from selector.inference.engine import InferenceEngine
from selector.types import Example, Selection

Values = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]


class PotentialScorer(Protocol):
    """Says what selections are worth for the queries of an environment."""

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> Values:
        """Values each selection for its query.

        Args:
            queries: N query numbers.
            selections: N selections, in prompt order.

        Returns:
            (N,) potentials; higher is better.
        """
        ...


@runtime_checkable
class JudgingScorer(PotentialScorer, Protocol):
    """Says at no further cost which queries are answered right."""

    def judge(self, queries: Sequence[int], selections: Sequence[Selection]) -> tuple[Values, Values | None]:
        """Values each selection, and tells whether its query is answered with the gold label.

        Args:
            queries: N query numbers.
            selections: N selections, in prompt order.

        Returns:
            (N,) potentials and (N,) of 0 and 1; None where answers would cost more than potentials.
        """
        ...


def gold_logprob(scores: Values, gold: Columns) -> Values:
    """Values a selection by the log-probability of the gold label among the labels.

    Args:
        scores: (N, L) label scores, nats.
        gold: (N,) columns of the gold labels.

    Returns:
        (N,) nats, at most 0.
    """
    logprobs: Values = log_softmax(scores)[np.arange(len(gold)), gold]
    return logprobs


def gold_probability(scores: Values, gold: Columns) -> Values:
    """Values a selection by the probability of the gold label: bounded, unlike its logarithm, and smooth.

    Args:
        scores: (N, L) label scores, nats.
        gold: (N,) columns of the gold labels.

    Returns:
        (N,) between 0 and 1.
    """
    probabilities: Values = np.exp(gold_logprob(scores, gold))
    return probabilities


def correctness(scores: Values, gold: Columns) -> Values:
    """Values a selection by whether the gold label has the highest score; equals go to the label that comes first.

    Args:
        scores: (N, L) label scores, nats.
        gold: (N,) columns of the gold labels.

    Returns:
        (N,) of 0 and 1.
    """
    right: Values = (scores.argmax(axis=1) == gold).astype(np.float64)
    return right


def margin(scores: Values, gold: Columns) -> Values:
    """Values a selection by how far the gold label is ahead of the best other one: it is positive where that is right.

    Args:
        scores: (N, L) label scores, nats; L of at least 2.
        gold: (N,) columns of the gold labels.

    Returns:
        (N,) nats.

    Raises:
        UsageError: When there is no other label.
    """
    if scores.shape[1] < 2:
        raise UsageError(
            f"the margin between {scores.shape[1]} labels was asked for",
            expected="at least 2 labels",
            remedy="Choose another reward.",
        )
    rows = np.arange(len(gold))
    others = scores.copy()
    others[rows, gold] = -np.inf
    margins: Values = scores[rows, gold] - others.max(axis=1)
    return margins


Potential = Callable[[Values, Columns], Values]
POTENTIALS: Final[Mapping[str, Potential]] = MappingProxyType(
    {"logprob": gold_logprob, "probability": gold_probability, "margin": margin, "accuracy": correctness}
)
FREE_TEXT_POTENTIALS: Final = ("logprob", "probability", "accuracy")


class EngineScorer:
    """Values selections with the inference engine, as it scores one query by itself.

    Contextual calibration, where the engine has it, is in every potential. Batch calibration is in none: it would make
    the worth of a selection depend on which other queries are asked in the same call.

    Args:
        engine: The engine.
        queries: The labelled queries that query numbers refer to.
        kind: One of `POTENTIALS`.
        token_cost: What a thousand tokens of demonstrations take off a potential, in its unit. A part of the
            potential, it is paid step by step and in sum like the rest.

    Raises:
        UnknownNameError: When the kind is not known, or not for targets of free text.
        UsageError: When the cost is negative.
    """

    def __init__(
        self, engine: InferenceEngine, queries: Sequence[Example], *, kind: str = "logprob", token_cost: float = 0.0
    ) -> None:
        known = FREE_TEXT_POTENTIALS if engine.template.free_text else tuple(POTENTIALS)
        if kind not in known:
            raise UnknownNameError("reward", kind, known=known)
        if not (token_cost >= 0 and math.isfinite(token_cost)):
            raise UsageError(f"the token cost is {token_cost}", expected="0 or more", remedy="Choose another number.")
        self._engine = engine
        self._queries = queries
        self._kind = kind
        self._token_cost = token_cost

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> Values:
        """Values each selection in one language-model batch; see `PotentialScorer.potentials`."""
        return self.judge(queries, selections)[0]

    def judge(self, queries: Sequence[int], selections: Sequence[Selection]) -> tuple[Values, Values | None]:
        """Values each selection in one language-model batch; see `JudgingScorer.judge`."""
        asked = [self._queries[number] for number in queries]
        if self._engine.template.free_text:
            worth, right = self._free_text(asked, selections)
        else:
            gold = self._engine.gold_columns(asked)
            scores = self._engine.score(asked, selections)
            worth, right = POTENTIALS[self._kind](scores, gold), correctness(scores, gold)
        if self._token_cost:
            tokens = [sum(self._engine.demonstration_tokens(selection.indices)) for selection in selections]
            worth = worth - self._token_cost * np.array(tokens) / 1000
        return worth, right

    def _free_text(self, asked: Sequence[Example], selections: Sequence[Selection]) -> tuple[Values, Values | None]:
        if self._kind != "accuracy":
            logprobs: Values = self._engine.gold_logprobs(asked, selections)
            return (logprobs if self._kind == "logprob" else np.exp(logprobs)), None
        right = self._engine.right(asked, self._engine.predict(asked, selections)).astype(np.float64)
        return right, right
