"""The one engine that answers with demonstrations; reward, mining, ordering, evaluation and serving all call it.

It turns queries and selections into requests, fits them into the context window, and reads the language model's
log-probabilities as label scores. It knows nothing of how demonstrations were chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from selector.data.pool import Pool
from selector.errors import PromptTooLongError, UnknownLabelError
from selector.inference.calibration import (
    CONTENT_FREE,
    Scores,
    batch_calibrated,
    check_calibration,
    contextually_calibrated,
    log_softmax,
)
from selector.inference.scoring import Request, scoring_function
from selector.lm.base import LanguageModel
from selector.prompting.template import PromptTemplate
from selector.types import Prediction, Query, Selection

logger = logging.getLogger(__name__)

CHUNK = 32  # queries per language-model call of `predict`: enough to share prefixes, short enough to show progress


class InferenceEngine:
    """Scores and predicts labels in context.

    Args:
        lm: The language model.
        template: Turns examples into text.
        pool: What the indices of selections refer to.
        scoring: "direct", "ppl" or "channel".
        calibration: "none", "contextual" or "batch".

    Raises:
        UnknownNameError: When scoring or calibration is not known.
        UnknownLabelError: When a label of the pool has no verbalizer.
        InvalidExampleError: When a member of the pool lacks a field of the template.
    """

    def __init__(
        self,
        lm: LanguageModel,
        template: PromptTemplate,
        pool: Pool,
        *,
        scoring: str = "direct",
        calibration: str = "none",
    ) -> None:
        check_calibration(calibration)
        for example in pool:
            template.check(example)
        self.lm = lm
        self.template = template
        self.pool = pool
        self.scoring = scoring
        self.calibration = calibration
        self._function = scoring_function(scoring)

    @property
    def labels(self) -> tuple[str, ...]:
        """The L labels, in the order of the columns of every score matrix."""
        return self.template.labels

    def fit(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Drops whole demonstrations from the front until every label's request fits the context window.

        Args:
            queries: N queries.
            selections: N selections.

        Returns:
            N selections, each a suffix of the one given.

        Raises:
            PromptTooLongError: When a query does not fit even without demonstrations.
        """
        return [self._fit_one(query, selection) for query, selection in zip(queries, selections, strict=True)]

    def score(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """Scores every label for every query, each by itself: no batch calibration.

        Args:
            queries: N queries.
            selections: N selections.

        Returns:
            (N, L) label scores, nats; higher is better.

        Raises:
            PromptTooLongError: When a query does not fit even without demonstrations.
            InvalidExampleError: When a query lacks a field of the template.
        """
        return self._score_fitted(queries, self.fit(queries, selections))

    def probabilities(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """Gives the distribution over the labels for every query, without batch calibration.

        Args:
            queries: N queries.
            selections: N selections.

        Returns:
            (N, L); every row sums to 1.
        """
        probabilities: Scores = np.exp(log_softmax(self.score(queries, selections)))
        return probabilities

    def gold_logprobs(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """Gives the log-probability of each query's gold label among the labels, without batch calibration.

        Args:
            queries: N labelled queries.
            selections: N selections.

        Returns:
            (N,) nats, at most 0.

        Raises:
            UnknownLabelError: When a query has no label or one without verbalizer.
        """
        columns = [self._gold_column(query) for query in queries]
        logprobs: Scores = log_softmax(self.score(queries, selections))[np.arange(len(columns)), columns]
        return logprobs

    def predict(
        self,
        queries: Sequence[Query],
        selections: Sequence[Selection],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Answers queries; batch calibration, where set, is over all of them.

        Args:
            queries: N queries.
            selections: N selections.
            advance: Called with the number of queries just scored.

        Returns:
            N predictions; equal scores go to the label that comes first.
        """
        if not queries:
            return []
        fitted = self.fit(queries, selections)
        parts = []
        for start in range(0, len(queries), CHUNK):
            chunk = slice(start, start + CHUNK)
            parts.append(self._score_fitted(queries[chunk], fitted[chunk]))
            if advance is not None:
                advance(len(parts[-1]))
        scores = np.concatenate(parts)
        if self.calibration == "batch":
            scores = batch_calibrated(scores)
        return [
            Prediction(self.labels[int(row.argmax())], dict(zip(self.labels, map(float, row), strict=True)), selection)
            for row, selection in zip(scores, fitted, strict=True)
        ]

    def accuracy(self, queries: Sequence[Query], selections: Sequence[Selection]) -> float:
        """Measures how many labelled queries are answered with their gold label.

        Args:
            queries: N labelled queries.
            selections: N selections.

        Returns:
            The share between 0 and 1.
        """
        predictions = self.predict(queries, selections)
        return float(
            np.mean([prediction.label == query.label for prediction, query in zip(predictions, queries, strict=True)])
        )

    def _score_fitted(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """(N, L) scores in one language-model call, contextual calibration included."""
        if not queries:
            return np.zeros((0, len(self.labels)))
        asked = list(zip(queries, selections, strict=True))
        if self.calibration == "contextual":
            # N queries, then F content-free inputs behind the demonstrations of each.
            asked += [(self._content_free(query, text), chosen) for query, chosen in asked for text in CONTENT_FREE]
        requests = [request for query, chosen in asked for request in self._requests(query, chosen)]
        results = self.lm.logprobs([prompt for prompt, _ in requests], [completion for _, completion in requests])
        values = np.array([self._function.value(result) for result in results]).reshape(len(asked), len(self.labels))
        scores: Scores = values[: len(queries)]
        if self.calibration == "contextual":
            content_free = values[len(queries) :].reshape(len(queries), len(CONTENT_FREE), len(self.labels))
            scores = contextually_calibrated(scores, content_free)
        return scores

    def _requests(self, query: Query, selection: Selection) -> list[Request]:
        return self._function.requests(self.template, [self.pool[index] for index in selection.indices], query)

    def _content_free(self, query: Query, text: str) -> Query:
        return replace(query, fields=dict.fromkeys(query.fields, text), label=None)

    def _fit_one(self, query: Query, selection: Selection) -> Selection:
        window = self.lm.context_length
        fitted = selection
        while True:
            texts = [prompt + completion for prompt, completion in self._requests(query, fitted)]
            # A token covers at least one byte, so short texts fit without being counted.
            if max(len(text.encode()) for text in texts) + 8 <= window:
                return fitted
            tokens = max(self.lm.count_tokens(texts)) + 1  # one for a beginning-of-text token
            if tokens <= window:
                return fitted
            if not fitted.indices:
                raise PromptTooLongError(tokens=tokens, context_length=window, uid=query.uid)
            logger.info("query %s: a demonstration is dropped, %d tokens exceed %d", query.uid, tokens, window)
            fitted = Selection(fitted.indices[1:], fitted.scores[1:])

    def _gold_column(self, query: Query) -> int:
        if query.label is None or query.label not in self.labels:
            raise UnknownLabelError(str(query.label), known=self.labels, where="the template")
        return self.labels.index(query.label)
