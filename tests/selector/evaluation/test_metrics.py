"""Tests of metrics."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import ExtraMissingError, UnknownLabelError, UnknownNameError, UsageError
from selector.evaluation.metrics import (
    METRICS,
    Answers,
    accuracy,
    balanced_accuracy,
    bleu,
    calibration_bins,
    exact_match,
    expected_calibration_error,
    macro_f1,
    metric_named,
    rouge_l,
    token_f1,
)

few = settings(max_examples=40, deadline=None)
letters = st.sampled_from("abcd")
label_pairs = st.lists(st.tuples(letters, letters), min_size=1, max_size=30)
texts = st.text(alphabet="ab the,. ", max_size=20)
text_pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=8)


def answers(pairs) -> Answers:
    gold, predicted = zip(*pairs, strict=True)
    return Answers(gold, predicted)


def confident(rows: list[tuple[float, bool]]) -> Answers:
    """Answers "a" with the given confidences of at least 1/2, right or wrong, out of "a" and "b"."""
    gold = ["a" if right else "b" for _, right in rows]
    probabilities = np.array([[confidence, 1 - confidence] for confidence, _ in rows])
    return Answers(gold, ["a"] * len(rows), ["a", "b"], np.log(np.maximum(probabilities, 1e-300)))


def test_label_metrics_by_hand() -> None:
    """Guards against micro-averages: "b" is rare, and found once in two times.

    "a": precision 3/4, recall 3/4. "b": precision 1/2, recall 1/2. Mean of both: 5/8; right are 4 of 6.
    """
    run = answers([("a", "a"), ("a", "a"), ("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")])
    assert accuracy(run).value == pytest.approx(4 / 6)
    assert accuracy(run).per_query == (1, 1, 1, 0, 0, 1)
    assert macro_f1(run).value == pytest.approx(5 / 8)
    assert balanced_accuracy(run).value == pytest.approx(5 / 8)


def test_an_answer_that_is_nobodys_gold_label_counts_in_macro_f1_alone() -> None:
    """Guards against warnings of scikit-learn, and against a label without gold that lowers the recall of others."""
    run = answers([("a", "a"), ("a", "c"), ("b", "b")])
    assert balanced_accuracy(run).value == pytest.approx((1 / 2 + 1) / 2)
    assert macro_f1(run).value == pytest.approx((2 / 3 + 1 + 0) / 3)


@few
@given(label_pairs)
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning", "ignore:.*single label.*:UserWarning")
def test_balanced_accuracy_agrees_with_scikit_learn(pairs) -> None:
    """Guards against an own notion of recall: this is balanced_accuracy_score without its warning."""
    from sklearn.metrics import balanced_accuracy_score

    assert balanced_accuracy(answers(pairs)).value == pytest.approx(balanced_accuracy_score(*zip(*pairs, strict=True)))


def test_calibration_error_by_hand() -> None:
    """Guards against unweighted bins: three queries at 0.95 with accuracy 2/3, one at 0.61 that is wrong."""
    run = confident([(0.95, True), (0.95, True), (0.95, False), (0.61, False)])
    result = expected_calibration_error(run)
    assert result.value == pytest.approx(3 / 4 * (0.95 - 2 / 3) + 1 / 4 * 0.61)
    assert result.per_query == ()
    bins = calibration_bins(run)
    assert (len(bins), bins[0].low, bins[-1].high) == (15, 0.0, 1.0)
    assert [own.count for own in bins if own.count] == [1, 3]
    assert bins[14].confidence == pytest.approx(0.95)
    assert bins[14].accuracy == pytest.approx(2 / 3)


def test_gaps_within_a_bin_offset_each_other_and_between_bins_do_not() -> None:
    """Guards against a mean of |confidence - right| over queries, and against one bin for all."""
    within = confident([(0.94, True), (0.98, False)])
    assert expected_calibration_error(within).value == pytest.approx(0.96 - 0.5)
    between = confident([(0.75, True), (0.75, True), (0.75, True), (1.0, False)])
    assert calibration_bins(between, bins=1)[0].accuracy == pytest.approx(0.75)
    assert expected_calibration_error(between).value == pytest.approx(3 / 4 * 0.25 + 1 / 4)


def test_an_edge_belongs_to_the_bin_below() -> None:
    """Guards against a confidence of 1 without a bin, and against bins that are open at the other end."""
    assert [own.count for own in calibration_bins(confident([(0.5, True), (0.75, True), (1.0, True)]), bins=4)] == [
        *(0, 1, 1, 1)
    ]


@few
@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_is_a_share(rows) -> None:
    """Guards against lost queries, and errors above 1 or below 0."""
    run = confident(rows)
    assert sum(own.count for own in calibration_bins(run)) == len(rows)
    assert 0 <= expected_calibration_error(run).value <= 1


@few
@given(st.lists(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(n - n // 2, n))), min_size=1))
def test_perfect_calibration_has_no_error(groups) -> None:
    """Guards against a systematic gap: of n queries with confidence k / n, k are right."""
    rows = [(right / count, number < right) for count, right in groups for number in range(count)]
    assert expected_calibration_error(confident(rows)).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        ("the cat sat", "A cat sat!", 1.0),
        ("cat sat", "the cat sat down", 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("a a b b", "b b b", 2 * (2 / 3) * 1 / (2 / 3 + 1)),  # the a's are articles
        ("x x y", "x x x", 2 / 3),  # a token counts as often as it occurs in both
        ("cat", "dog", 0.0),
        ("the", "", 1.0),
        ("the", "cat", 0.0),
        ("it's", "its", 1.0),
        ("well-known", "well known", 0.0),
    ],
)
def test_token_f1_by_hand(gold: str, answer: str, value: float) -> None:
    """Guards against sets of tokens, against punctuation that splits words, and against 0 / 0."""
    assert token_f1(Answers([gold], [answer])).value == pytest.approx(value)


@few
@given(text_pairs)
def test_laws_of_text_metrics(pairs) -> None:
    """Guards against values off 0 to 1, an F1 that turns with the pair, and an exact match without full overlap."""
    run, turned = answers(pairs), answers([(given, gold) for gold, given in pairs])
    overlap, exact = token_f1(run), exact_match(run)
    assert all(0 <= value <= 1 for value in overlap.per_query)
    assert token_f1(turned).value == pytest.approx(overlap.value)
    assert all(one <= other for one, other in zip(exact.per_query, overlap.per_query, strict=True))
    assert overlap.value == pytest.approx(np.mean(overlap.per_query))


def test_exact_match_is_that_of_the_library() -> None:
    """Guards against a second notion of right: case and white space are forgiven, punctuation is not."""
    run = Answers(["SELECT a", "select a.", "b"], ["select  a", "select a", "b"])
    assert exact_match(run).per_query == (1.0, 0.0, 1.0)


def test_bleu_by_hand() -> None:
    """Guards against a mean over sentences: precisions 5/6, 3/5, 1/4 and, smoothed, 1/6 at equal length."""
    pytest.importorskip("sacrebleu")
    result = bleu(Answers(["the cat sat on the mat"], ["the cat sat near the mat"]))
    assert result.value == pytest.approx(math.exp(sum(map(math.log, [5 / 6, 3 / 5, 1 / 4, 1 / 6])) / 4))
    assert "tok:13a" in result.signature
    assert result.per_query == ()
    assert bleu(Answers(["one two three four five"], ["one two three four five"])).value == pytest.approx(1.0)
    assert bleu(Answers(["one two three four"], [""])).value == 0.0


def test_rouge_l_by_hand() -> None:
    """Guards against matching in a row: "a c d" runs through "a b c d" with gaps; precision 1, recall 3/4."""
    pytest.importorskip("rouge_score")
    result = rouge_l(Answers(["a b c d", "x"], ["a c d", "y"]))
    assert result.per_query == pytest.approx((6 / 7, 0.0))
    assert result.value == pytest.approx(3 / 7)


@pytest.mark.parametrize(("name", "module"), [("bleu", "sacrebleu.metrics"), ("rouge-l", "rouge_score.rouge_scorer")])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    """Guards against an ImportError without what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExtraMissingError, match=r"pip install 'shotsmith\[metrics\]'"):
        METRICS[name].compute(Answers(["x"], ["x"]))


@few
@given(label_pairs, st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_queries(pairs, random) -> None:
    """Guards against a metric that pairs answers by accident."""
    shuffled = list(pairs)
    random.shuffle(shuffled)
    for name in ("accuracy", "macro-f1", "balanced-accuracy", "exact-match", "token-f1"):
        compute = METRICS[name].compute
        assert compute(answers(shuffled)).value == pytest.approx(compute(answers(pairs)).value)


def test_every_metric_names_itself() -> None:
    """Guards against a registry that calls one metric by the name of another."""
    run = confident([(0.9, True), (0.6, False)])
    for name in ("accuracy", "macro-f1", "balanced-accuracy", "ece", "exact-match", "token-f1"):
        result = METRICS[name].compute(run)
        assert result.metric == name
        assert 0 <= result.value <= 1
    assert [name for name, metric in METRICS.items() if not metric.higher_is_better] == ["ece"]
    assert [name for name, metric in METRICS.items() if metric.needs_logprobs] == ["ece"]


def test_a_metric_must_fit_the_task() -> None:
    """Guards against BLEU of labels, and a wrong name without the right ones."""
    assert metric_named("token-f1", kind="generation") is METRICS["token-f1"]
    with pytest.raises(UnknownNameError, match=r"classification 'bleu'.*macro-f1"):
        metric_named("bleu", kind="classification")


@pytest.mark.parametrize(
    "arguments",
    [
        (["a"], ["a", "b"]),
        ([], []),
        (["a"], ["a"], ["a", "b"], np.log([[0.5, 0.25, 0.25]])),
        (["a"], ["a"], [], np.zeros((1, 0))),
        (["a"], ["a"], ["a", "b"], np.array([[-3.0, -4.0]])),
        (["a"], ["a"], ["a", "b"], np.array([[np.nan, 0.0]])),
    ],
)
def test_answers_that_do_not_fit_are_refused(arguments) -> None:
    """Guards against pairs cut short, columns without a label, and raw scores taken for probabilities."""
    with pytest.raises(UsageError):
        Answers(*arguments)


def test_unknown_gold_labels_and_missing_logprobs_are_named() -> None:
    """Guards against a KeyError deep in a metric, and against an error of 0 where nothing is known."""
    with pytest.raises(UnknownLabelError, match="'c'"):
        Answers(["c"], ["a"], ["a", "b"])
    with pytest.raises(UsageError, match="without log-probabilities"):
        expected_calibration_error(Answers(["a"], ["a"], ["a", "b"]))
    with pytest.raises(UsageError, match="0 bins"):
        calibration_bins(confident([(0.9, True)]), bins=0)
