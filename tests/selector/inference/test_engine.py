"""Tests of the engine: windows, calibration, prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import InvalidExampleError, PromptTooLongError, UnknownLabelError, UnknownNameError, UsageError
from selector.inference.calibration import batch_calibrated, contextually_calibrated, log_softmax
from selector.inference.engine import CHUNK, InferenceEngine
from selector.testing import ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection


def make(*, window: int = 512, scoring: str = "direct", calibration: str = "none") -> InferenceEngine:
    lm = ToyLanguageModel(context_length=window)
    return InferenceEngine(lm, planted_template(), planted_pool(), scoring=scoring, calibration=calibration)


@pytest.mark.parametrize("scoring", ["direct", "ppl", "channel"])
def test_scores_equal_those_of_the_texts_written_out(scoring: str) -> None:
    """Guards the text that each scoring function asks about, and the sign and unit of its score."""
    engine = make(scoring=scoring)
    query = planted_examples(1, seed=3, prefix="q")[0]
    text = query.fields["text"]
    demo = engine.pool[2].fields["text"]
    context = f"Review: {demo}\nSentiment: fresh\n\n"
    reversed_context = f"Sentiment: fresh\nReview: {demo}\n\n"
    expected = []
    for label in ("fresh", "rotten"):
        asked = {
            "direct": (f"{context}Review: {text}\nSentiment:", f" {label}"),
            "ppl": (context, f"Review: {text}\nSentiment: {label}"),
            "channel": (f"{reversed_context}Sentiment: {label}", f"\nReview: {text}"),
        }[scoring]
        score = ToyLanguageModel().logprobs([asked[0]], [asked[1]])[0]
        expected.append(score.logprob / score.tokens if scoring == "ppl" else score.logprob)
    assert engine.score([query], [Selection.of(2)])[0] == pytest.approx(expected)


def test_one_call_to_the_language_model_scores_a_batch() -> None:
    """Guards the batching on which every speed-up of the language model depends."""
    calls = []

    class Counting(ToyLanguageModel):
        def logprobs(self, prompts, completions):  # type: ignore[no-untyped-def]
            calls.append(len(prompts))
            return super().logprobs(prompts, completions)

    engine = InferenceEngine(Counting(), planted_template(), planted_pool(), calibration="contextual")
    engine.score(planted_examples(5, prefix="q"), [Selection.of(0, 1)] * 5)
    assert calls == [5 * 2 + 5 * 3 * 2]


def test_demonstrations_are_dropped_whole_from_the_front() -> None:
    """Guards against cutting the query or the label, and against contexts that differ between labels."""
    query = planted_examples(1, seed=3, prefix="q")[0]
    words = ToyLanguageModel().count_tokens([planted_template().prompt([planted_pool()[0]], query)])[0]
    engine = make(window=words + 6)
    prediction = engine.predict([query], [Selection((4, 5, 6), (0.4, 0.5, 0.6))])[0]
    assert prediction.selection == Selection((6,), (0.6,))


def test_a_query_longer_than_the_window_is_named() -> None:
    """Guards against silent truncation of the query."""
    query = Example("long", {"text": "word " * 100})
    with pytest.raises(PromptTooLongError) as caught:
        make(window=20).score([query], [Selection.of(0)])
    assert (caught.value.uid, caught.value.context_length) == ("long", 20)


def test_unknown_names_and_labels_are_refused_at_the_door() -> None:
    """Guards against a KeyError deep inside scoring."""
    with pytest.raises(UnknownNameError, match="direct, ppl, channel"):
        make(scoring="perplexity")
    with pytest.raises(UnknownNameError, match="none, contextual, batch"):
        make(calibration="domain")
    with pytest.raises(UnknownLabelError):
        InferenceEngine(ToyLanguageModel(), planted_template(), Pool([Example("a", {"text": "x"}, "mild")]))
    with pytest.raises(InvalidExampleError):
        InferenceEngine(ToyLanguageModel(), planted_template(), Pool([Example("a", {"body": "x"}, "fresh")]))
    with pytest.raises(UnknownLabelError):
        make().gold_logprobs([Example("q", {"text": "x"})], [Selection.of()])


def test_batch_calibration_needs_a_batch() -> None:
    """Guards against one-query batches, whose calibrated scores would all tie."""
    with pytest.raises(UsageError, match="at least 2"):
        make(calibration="batch").predict(planted_examples(1, prefix="q"), [Selection.of(0)])


def test_batch_calibration_covers_all_queries_of_a_call() -> None:
    """Guards against calibrating each internal chunk by itself."""
    queries = planted_examples(CHUNK + 5, seed=4, prefix="q")
    selections = [Selection.of(0, 1, 3)] * len(queries)
    engine = make(calibration="batch")
    predicted = [list(prediction.scores.values()) for prediction in engine.predict(queries, selections)]
    assert np.array(predicted) == pytest.approx(batch_calibrated(engine.score(queries, selections)))


def test_predictions_do_not_depend_on_what_else_is_asked() -> None:
    """Guards per-query scores against their neighbours in a batch."""
    engine, queries = make(calibration="contextual"), planted_examples(8, seed=4, prefix="q")
    selections = [Selection.of(number, number + 1) for number in range(8)]
    together = engine.predict(queries, selections)
    alone = [engine.predict([query], [selection])[0] for query, selection in zip(queries, selections, strict=True)]
    assert together == alone


def test_demonstrations_help_the_toy_model() -> None:
    """Guards the premise of every selector test: the toy model learns in context."""
    queries = planted_examples(40, seed=9, prefix="q")
    balanced = [Selection.of(*range(8))] * len(queries)
    assert make(calibration="batch").accuracy(queries, balanced) >= 0.9
    assert make().accuracy(queries, [Selection.of()] * len(queries)) == pytest.approx(0.5)


def test_progress_counts_queries() -> None:
    """Guards the bar against running past its end or stopping short."""
    steps: list[int] = []
    make().predict(planted_examples(70, prefix="q"), [Selection.of()] * 70, advance=steps.append)
    assert (sum(steps), len(steps)) == (70, 3)


scores = st.lists(st.lists(st.floats(-30, 0), min_size=3, max_size=3), min_size=2, max_size=6).map(np.array)


@settings(deadline=None, max_examples=50)
@given(scores, st.floats(-5, 5))
def test_normalisation_ignores_a_constant_and_sums_to_one(matrix: np.ndarray, shift: float) -> None:
    """Guards log_softmax against overflow and drift."""
    assert np.exp(log_softmax(matrix)).sum(axis=-1) == pytest.approx(1)
    assert log_softmax(matrix + shift) == pytest.approx(log_softmax(matrix), abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(scores)
def test_calibration_removes_a_bias_that_content_free_inputs_share(matrix: np.ndarray) -> None:
    """Guards the sign of contextual calibration: an input like the content-free ones must come out undecided."""
    calibrated = contextually_calibrated(matrix, np.repeat(matrix[:, None, :], 3, axis=1))
    assert np.ptp(calibrated, axis=1) == pytest.approx(0, abs=1e-6)


def test_contextual_calibration_by_hand() -> None:
    """Guards the formula of Zhao et al. (2021): p / p_cf, with p_cf the mean over content-free inputs."""
    p, content_free = np.log([[0.6, 0.4]]), np.log([[[0.9, 0.1], [0.7, 0.3]]])
    assert contextually_calibrated(p, content_free) == pytest.approx(np.log([[0.6 / 0.8, 0.4 / 0.2]]))


def test_batch_calibration_by_hand() -> None:
    """Guards the formula of Zhou et al. (2024): p / mean p."""
    assert batch_calibrated(np.log([[0.8, 0.2], [0.6, 0.4]])) == pytest.approx(
        np.log([[0.8 / 0.7, 0.2 / 0.3], [0.6 / 0.7, 0.4 / 0.3]])
    )
