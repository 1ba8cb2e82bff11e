"""The one engine that answers with demonstrations; reward, mining, ordering, evaluation and serving all call it.

It turns queries and selections into requests, fits them into the context window, and reads the language model's
log-probabilities as label scores. It knows nothing of how demonstrations were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.errors import OwnChoicesError, UnknownLabelError, UsageError
from selector.inference.answers import answer_rule
from selector.inference.calibration import (
    CONTENT_FREE,
    Scores,
    batch_calibrated,
    contextually_calibrated,
    log_softmax,
)
from selector.inference.context_window import fitted_selection
from selector.inference.requirements import check_settings, require_shown_query
from selector.inference.scoring import Request, scoring_function
from selector.lm.base import LanguageModel, require_exact_scores
from selector.prompting.template import PromptTemplate
from selector.prompting.written_answer import answer_ends, answer_in
from selector.types import Prediction, Query, Selection

CHUNK = 32  # queries per language-model call of `predict`: enough to share prefixes, short enough to show progress


class InferenceEngine:
    """Scores and predicts labels in context.

    Args:
        lm: The language model.
        template: Turns examples into text.
        pool: What the indices of selections refer to.
        scoring: "direct", "ppl", "channel", "per-token" or "pmi".
        calibration: "none", "contextual" or "batch".

    Raises:
        UnknownNameError: When scoring, calibration or the template's answer rule is not known.
        UnknownLabelError: When a label of the pool has no verbalizer.
        InvalidExampleError: When a member of the pool lacks a field of the template.
        UsageError: When targets are free text and scoring or calibration is not the default.
        OwnChoicesError: When calibration is over a batch of queries that have choices of their own.
        TemplateError: When scoring is "pmi" and the template has no premise.
        ServerCapabilityError: When scoring is not direct, or scores are calibrated, and the model's may be bounds.
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
        check_settings(lm, template, scoring=scoring, calibration=calibration)
        for example in pool:
            template.check(example)
        self.lm = lm
        self.template = template
        self.pool = pool
        self.scoring = scoring
        self.calibration = calibration
        self._rule = answer_rule(template.answer_rule)
        self._function = scoring_function(scoring)
        self._premise = template.premise if self._function.less_premise else ""
        self._demonstration_tokens: dict[int, int] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The L labels, in the order of the columns of every score matrix; none where queries have their own choices.

        Then the columns of a query are its choices, and rows of fewer choices than others end in -inf.
        """
        return self.template.labels

    def require_shared_labels(self, what: str) -> None:
        """Makes sure that a column of a score matrix means the same for every query.

        Args:
            what: What needs it, for the error ("the entropy of predicted labels").

        Raises:
            OwnChoicesError: When queries have choices of their own.
        """
        if self.template.multiple_choice:
            raise OwnChoicesError(what)

    def require_label_scores(self, what: str) -> None:
        """Makes sure that there are labels to score.

        Args:
            what: What needs them, for the error ("the order by mdl").

        Raises:
            UsageError: When targets are free text.
        """
        if self.template.free_text:
            raise UsageError(
                f"{what}: label scores were asked for, and targets are free text",
                expected="a closed set of labels",
                remedy="Choose a method that needs only answers or gold log-probabilities.",
            )

    def fit(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Drops whole demonstrations from the front until every label's request fits the context window.

        Args:
            queries: N queries.
            selections: N selections.

        Returns:
            N selections, each a suffix of the one given.

        Raises:
            PromptTooLongError: When a query does not fit even without demonstrations.
            TemplateError: When nothing of a query would be shown.
        """
        return self._fit(queries, selections, [self.template.answer_tokens] * len(queries))

    def score(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """Scores every label for every query, each by itself: no batch calibration.

        Args:
            queries: N queries.
            selections: N selections.

        Returns:
            (N, L) label scores, nats; higher is better. Where queries have their own choices, L is the most that one
            of these has, and the columns that a query lacks are -inf.

        Raises:
            PromptTooLongError: When a query does not fit even without demonstrations.
            InvalidExampleError: When a query lacks a field of the template.
            UsageError: When targets are free text.
        """
        self.require_label_scores("label scores")
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

        Where targets are free text there is nothing to normalise over: it is the mean over the target's tokens.

        Args:
            queries: N labelled queries.
            selections: N selections.

        Returns:
            (N,) nats, at most 0.

        Raises:
            UnknownLabelError: When a query has no label or one without verbalizer.
            ServerCapabilityError: When targets are free text and the model's scores may be bounds.
        """
        if self.template.free_text:
            require_exact_scores(
                self.lm, "the log-probability of a free text", "Choose a method that needs only answers"
            )
            return self._target_logprobs(queries, selections)
        columns = self.gold_columns(queries)
        logprobs: Scores = log_softmax(self.score(queries, selections))[np.arange(len(columns)), columns]
        return logprobs

    def gold_columns(self, queries: Sequence[Query]) -> npt.NDArray[np.int64]:
        """Finds the column of each query's gold label in a score matrix.

        Args:
            queries: N labelled queries.

        Returns:
            (N,) columns.

        Raises:
            UnknownLabelError: When a query has no label or one without verbalizer.
        """
        return np.array([self._gold_column(query) for query in queries], dtype=np.int64)

    def demonstration_tokens(self, indices: Sequence[int]) -> list[int]:
        """Counts the tokens that members of the pool take as demonstrations, separator included, each once.

        Args:
            indices: Pool positions.

        Returns:
            One count for each; tokens that would join across a separator are counted apart.
        """
        unknown = [index for index in dict.fromkeys(indices) if index not in self._demonstration_tokens]
        if unknown:
            texts = [self._function.demonstration(self.template, self.pool[index]) for index in unknown]
            texts = [text + self.template.separator for text in texts]
            self._demonstration_tokens.update(zip(unknown, self.lm.count_tokens(texts), strict=True))
        return [self._demonstration_tokens[index] for index in indices]

    def predict(
        self,
        queries: Sequence[Query],
        selections: Sequence[Selection],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Answers queries; batch calibration, where set, is over all of them.

        Where targets are free text the most probable continuation is written, greedily, token by token.

        Args:
            queries: N queries.
            selections: N selections.
            advance: Called with the number of queries just scored.

        Returns:
            N predictions; equal scores go to the label that comes first. A free text has no scores.
        """
        if not queries:
            return []
        fitted = self.fit(queries, selections)
        if self.template.free_text:
            return self._written(queries, fitted, advance)
        rows: list[Scores] = []
        for start in range(0, len(queries), CHUNK):
            chunk = slice(start, start + CHUNK)
            rows += list(self._score_fitted(queries[chunk], fitted[chunk]))
            if advance is not None:
                advance(len(queries[chunk]))
        if self.calibration == "batch":
            rows = list(batch_calibrated(np.stack(rows)))
        predictions = []
        for query, row, selection in zip(queries, rows, fitted, strict=True):
            answers = self.template.answers_of(query)
            scores = dict(zip(answers, map(float, row[: len(answers)]), strict=True))
            predictions.append(Prediction(answers[int(row.argmax())], scores, selection))
        return predictions

    def accuracy(self, queries: Sequence[Query], selections: Sequence[Selection]) -> float:
        """Measures how many labelled queries are answered with their gold label.

        Args:
            queries: N labelled queries.
            selections: N selections.

        Returns:
            The share between 0 and 1.
        """
        return float(np.mean(self.right(queries, self.predict(queries, selections))))

    def right(self, queries: Sequence[Query], predictions: Sequence[Prediction]) -> npt.NDArray[np.bool_]:
        """Tells which answers count as the gold ones; see `is_right`.

        Args:
            queries: N labelled queries.
            predictions: N predictions of `predict`.

        Returns:
            (N,) whether they do.
        """
        pairs = zip(queries, predictions, strict=True)
        return np.array([self.is_right(own.label, str(query.label), query.aliases) for query, own in pairs], dtype=bool)

    def is_right(self, answer: str, gold: str, aliases: Sequence[str] = ()) -> bool:
        """Tells whether an answer counts as the gold one; free texts by the template's answer rule.

        Args:
            answer: The answer, as `predict` gives it.
            gold: The gold label or text.
            aliases: Other texts that are as right, where targets are free text.

        Returns:
            Whether it does.
        """
        if not self.template.free_text:
            return answer == gold
        return self._rule.folded(answer) in {self._rule.folded(text) for text in (gold, *aliases)}

    def matched_gold(self, query: Query, answer: str) -> str:
        """Gives what an answer is to be compared with by those who know neither aliases nor answer rule.

        Args:
            query: A labelled query.
            answer: The answer, as `predict` gives it.

        Returns:
            The answer itself where it is right, else the label.
        """
        return answer if self.is_right(answer, str(query.label), query.aliases) else str(query.label)

    def _written(
        self, queries: Sequence[Query], fitted: Sequence[Selection], advance: Callable[[int], None] | None
    ) -> list[Prediction]:
        predictions: list[Prediction] = []
        for query, selection in zip(queries, fitted, strict=True):
            (text,) = self.lm.generate(
                [self._prompt(query, selection)],
                max_new_tokens=self.template.answer_tokens,
                stop=answer_ends(self.template),
            )
            given = text if self._rule.searches else answer_in(self.template, text)
            answer = self._rule.read(given, query.choices)
            predictions.append(Prediction(answer, {}, selection, text.strip()))
            if advance is not None:
                advance(1)
        return predictions

    def _fit(
        self, queries: Sequence[Query], selections: Sequence[Selection], reserved: Sequence[int]
    ) -> list[Selection]:
        """`fit`, with as many tokens kept free behind each prompt as are named."""
        if self.scoring != "channel":  # an engine that only holds a pool asks nothing
            require_shown_query(self.template)
        return [
            fitted_selection(query, selection, lm=self.lm, reserve=reserve, texts=self._asked)
            for query, selection, reserve in zip(queries, selections, reserved, strict=True)
        ]

    def _target_logprobs(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """(N,) mean log-probability of the tokens of each free-text target, nats."""
        for query in queries:
            if query.label is None:
                raise UnknownLabelError(str(query.label), known=("any text",), where="a labelled query")
        targets = [self.template.target(query) for query in queries]
        # Only a target longer than any answer may be decides what is shown: it would not fit behind that.
        reserved = [max(self.template.answer_tokens, tokens) for tokens in self.lm.count_tokens(targets)]
        fitted = self._fit(queries, selections, reserved)
        prompts = [self._prompt(query, chosen) for query, chosen in zip(queries, fitted, strict=True)]
        results = self.lm.logprobs(prompts, targets)
        means: Scores = np.array([result.logprob / result.tokens for result in results])
        return means

    def _score_fitted(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Scores:
        """(N, L) scores in one language-model call, contextual calibration included; see `score`."""
        if not queries:
            return np.zeros((0, max(len(self.labels), 1)))
        asked = list(zip(queries, selections, strict=True))
        if self.calibration == "contextual":
            # N queries, then F content-free inputs behind the demonstrations of each.
            asked += [(self._content_free(query, text), chosen) for query, chosen in asked for text in CONTENT_FREE]
        apart = [self._requests(query, chosen) for query, chosen in asked]
        counts = np.array([len(requests) for requests in apart])
        values = np.full((len(asked), counts.max()), -np.inf)
        values[np.arange(counts.max()) < counts[:, None]] = self._request_values([one for own in apart for one in own])
        scores: Scores = values[: len(queries)]
        if self.calibration == "contextual":
            content_free = values[len(queries) :].reshape(len(queries), len(CONTENT_FREE), -1)
            scores = contextually_calibrated(scores, content_free)
        return scores

    def _request_values(self, requests: Sequence[Request]) -> Scores:
        """(R,) the value of each request, less that of its label behind the premise where the function asks for it."""
        labels = dict.fromkeys(completion for _, completion in requests) if self._function.less_premise else {}
        asked = [*requests, *((self._premise, completion) for completion in labels)]
        results = self.lm.logprobs([prompt for prompt, _ in asked], [completion for _, completion in asked])
        values = np.array([self._function.value(result) for result in results])
        unconditional = dict(zip(labels, values[len(requests) :], strict=True))
        less: Scores = np.array([unconditional.get(completion, 0.0) for _, completion in requests])
        return values[: len(requests)] - less

    def _requests(self, query: Query, selection: Selection) -> list[Request]:
        return self._function.requests(self.template, [self.pool[index] for index in selection.indices], query)

    def _prompt(self, query: Query, selection: Selection) -> str:
        return self.template.prompt([self.pool[index] for index in selection.indices], query)

    def _content_free(self, query: Query, text: str) -> Query:
        return replace(query, fields=dict.fromkeys(query.fields, text), label=None)

    def _asked(self, query: Query, selection: Selection) -> list[str]:
        """Whole texts of a query; the target of a free text must not decide what is shown."""
        requests = [] if self.template.free_text else self._requests(query, selection)
        if self.calibration == "contextual":
            for text in CONTENT_FREE:
                requests += self._requests(self._content_free(query, text), selection)
        return [prompt + completion for prompt, completion in requests] or [self._prompt(query, selection)]

    def _gold_column(self, query: Query) -> int:
        answers = self.template.answers_of(query)
        if query.label is None or query.label not in answers:
            raise UnknownLabelError(str(query.label), known=answers, where="the template")
        return answers.index(query.label)
