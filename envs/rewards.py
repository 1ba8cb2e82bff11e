"""What a set of demonstrations is worth, and the reward that follows from it.

The reward of a step is a difference of potentials, so the rewards of an episode add up to what the final set is worth
over none (Ng, Harada & Russell, 1999, potential-based shaping with discount 1). Paying all of it at the end has the
same return and asks the language model once per episode instead of once per step. Reward calls the engine that
evaluation calls; there is no second truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.types import Example, Selection

Values = npt.NDArray[np.float64]


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


def gold_logprob(engine: InferenceEngine, queries: Sequence[Example], selections: Sequence[Selection]) -> Values:
    """Values a selection by the log-probability of the gold label among the labels.

    Args:
        engine: The engine.
        queries: N labelled queries.
        selections: N selections.

    Returns:
        (N,) nats, at most 0.
    """
    return engine.gold_logprobs(queries, selections)


def correctness(engine: InferenceEngine, queries: Sequence[Example], selections: Sequence[Selection]) -> Values:
    """Values a selection by whether the gold label has the highest score.

    Args:
        engine: The engine.
        queries: N labelled queries.
        selections: N selections.

    Returns:
        (N,) of 0 and 1.
    """
    if engine.template.free_text:
        answers = [prediction.label for prediction in engine.predict(queries, selections)]
    else:
        answers = [engine.labels[int(column)] for column in engine.score(queries, selections).argmax(axis=1)]
    return np.array([float(answer == query.label) for answer, query in zip(answers, queries, strict=True)])


def certainty_of_correctness(
    engine: InferenceEngine, queries: Sequence[Example], selections: Sequence[Selection]
) -> Values:
    """Values a selection by the probability of the gold label: bounded, unlike its logarithm, and smooth.

    Args:
        engine: The engine.
        queries: N labelled queries.
        selections: N selections.

    Returns:
        (N,) between 0 and 1.
    """
    probabilities: Values = np.exp(engine.gold_logprobs(queries, selections))
    return probabilities


Potential = Callable[[InferenceEngine, Sequence[Example], Sequence[Selection]], Values]
POTENTIALS: Final[Mapping[str, Potential]] = MappingProxyType(
    {"logprob": gold_logprob, "probability": certainty_of_correctness, "accuracy": correctness}
)


class EngineScorer:
    """Values selections with the inference engine.

    Args:
        engine: The engine.
        queries: The labelled queries that query numbers refer to.
        kind: One of `POTENTIALS`.

    Raises:
        UnknownNameError: When the kind is not known.
    """

    def __init__(self, engine: InferenceEngine, queries: Sequence[Example], *, kind: str = "logprob") -> None:
        if kind not in POTENTIALS:
            raise UnknownNameError("reward", kind, known=tuple(POTENTIALS))
        self._engine = engine
        self._queries = queries
        self._potential = POTENTIALS[kind]

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> Values:
        """Values each selection in one language-model batch; see `PotentialScorer.potentials`."""
        return self._potential(self._engine, [self._queries[number] for number in queries], selections)
