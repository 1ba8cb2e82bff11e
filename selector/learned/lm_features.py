"""What the language model says of a state: an option of the featuriser, which costs a prompt for each state or query.

Zhang, Feng & Tan (2022) describe states by the model's entropy and perplexity. Labels are never named here, only
ranked or compared, so a policy that sees this is as free of label names as one that sees embeddings only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from selector.inference.calibration import log_softmax
from selector.inference.engine import InferenceEngine
from selector.learned.shortlist import Shortlist
from selector.types import Query, Selection

TOP_LABELS: Final = 4
PROMPT_FEATURES: Final = (
    *(
        f"probability_{rank}" for rank in range(1, TOP_LABELS + 1)
    ),  # of the labels, the largest first; 0 beyond the last
    "entropy",  # of the labels under the current prompt, as a share of its largest
    "familiarity",  # 1 / (1 + nats of surprise at seeing any label): stands for the perplexity of the prompt
)
AGREEMENT: Final = "agreement"  # candidate feature: the probability that the current prompt gives to its label
PRIOR_AGREEMENT: Final = "prior_agreement"  # the same, of the query without any demonstration
PROMPT_VIEW, QUERY_VIEW = "prompt", "query"  # what the language model is shown: the prompt so far, or the query alone
VIEWS: Final = (PROMPT_VIEW, QUERY_VIEW)


class PromptView(NamedTuple):
    """What the language model says of one state.

    Attributes:
        prompt: (P,) float32, see `PROMPT_FEATURES`; each between 0 and 1.
        agreement: (K,) float32, see `AGREEMENT`.
    """

    prompt: npt.NDArray[np.float32]
    agreement: npt.NDArray[np.float32]


class PromptReader(Protocol):
    """Looks at states with a language model."""

    def read(
        self, queries: Sequence[int], shortlists: Sequence[Shortlist], chosen: Sequence[Sequence[int]]
    ) -> list[PromptView]:
        """Looks at states, all in one batch.

        Args:
            queries: N query numbers.
            shortlists: N shortlists of these queries.
            chosen: N lists of places in the shortlist, in the order chosen.

        Returns:
            N views.
        """
        ...


class EngineReader:
    """Looks at states with the inference engine.

    Args:
        engine: The engine.
        queries: What query numbers refer to.
        view: "prompt" shows the language model what is chosen so far; "query" shows it the query alone, once.

    Raises:
        UsageError: When targets are free text.
        OwnChoicesError: When queries have choices of their own.
    """

    def __init__(self, engine: InferenceEngine, queries: Sequence[Query], *, view: str = PROMPT_VIEW) -> None:
        engine.require_label_scores("features of the language model")
        self._engine = engine
        self._queries = queries
        engine.require_shared_labels("features of the language model")
        # Shortlists number the labels as the pool does, scores as the template does.
        self._columns = np.array([engine.labels.index(label) for label in engine.pool.labels])
        self._view = view
        self._alone: dict[int, npt.NDArray[np.float64]] = {}  # scores of queries without demonstrations

    def read(
        self, queries: Sequence[int], shortlists: Sequence[Shortlist], chosen: Sequence[Sequence[int]]
    ) -> list[PromptView]:
        """Looks at states, all in one batch; see `PromptReader.read`."""
        alone = self._view == QUERY_VIEW
        scores = self._scores_alone(queries) if alone else self._scores(queries, shortlists, chosen)
        views = []
        for shortlist, row in zip(shortlists, scores, strict=True):
            probabilities = np.exp(log_softmax(row))
            agreement = probabilities[self._columns[shortlist.labels]].astype(np.float32)
            views.append(PromptView(prompt_features(row), agreement))
        return views

    def _scores(
        self, queries: Sequence[int], shortlists: Sequence[Shortlist], chosen: Sequence[Sequence[int]]
    ) -> npt.NDArray[np.float64]:
        selections = [
            Selection.of(*(shortlist.indices[place] for place in places))
            for shortlist, places in zip(shortlists, chosen, strict=True)
        ]
        return self._engine.score([self._queries[number] for number in queries], selections)

    def _scores_alone(self, queries: Sequence[int]) -> npt.NDArray[np.float64]:
        new = [number for number in dict.fromkeys(queries) if number not in self._alone]
        if new:
            scores = self._engine.score([self._queries[number] for number in new], [Selection.of()] * len(new))
            self._alone.update(zip(new, scores, strict=True))
        return np.stack([self._alone[number] for number in queries])


def prompt_features(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Computes the features of a prompt; see `PROMPT_FEATURES`.

    Args:
        scores: (L,) label scores, nats.

    Returns:
        (P,) float32, whatever the order of the labels.
    """
    logprobs = log_softmax(scores)
    probabilities = np.exp(logprobs)
    top = np.zeros(TOP_LABELS)
    top[: len(scores)] = np.sort(probabilities)[::-1][:TOP_LABELS]
    largest = np.log(max(len(scores), 2))
    entropy = -(probabilities * logprobs).sum() / largest
    surprise = max(0.0, -float(np.logaddexp.reduce(scores)))
    # Rounding must not lead out of the space that is declared.
    features: npt.NDArray[np.float32] = np.array([*top, entropy, 1.0 / (1.0 + surprise)], dtype=np.float32).clip(0, 1)
    return features
