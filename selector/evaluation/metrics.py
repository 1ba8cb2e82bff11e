"""Metrics of answers: how good they are, and for labels how well their probabilities are meant.

Pure functions from answers to a number. They know neither methods nor language models. `METRICS` names them all and
says which kind of task each one is for: "classification" where an answer is one of a set of labels, "generation" where
it is free text. Every value is from 0 to 1.
"""

from __future__ import annotations

import importlib
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from selector.errors import ExtraMissingError, UnknownLabelError, UnknownNameError, UsageError
from selector.evaluation.statistics import Values
from selector.inference.free_text import exact_match as same_text

TaskKind = Literal["classification", "generation"]
CALIBRATION_BINS: Final = 15
EXTRA: Final = "metrics"
"""The extra that brings the libraries of BLEU and ROUGE."""


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one run.

    Attributes:
        gold: N right answers: labels, or texts.
        predicted: N answers given, for the same queries in the same order.
        labels: The L labels that could be answered, in the order of the columns of `logprobs`; empty for free text.
        logprobs: (N, L) normalised log-probabilities, nats; None where they are not known.
    """

    gold: Sequence[str]
    predicted: Sequence[str]
    labels: Sequence[str] = ()
    logprobs: Values | None = None

    def __post_init__(self) -> None:
        if len(self.gold) != len(self.predicted) or not len(self.gold):
            raise UsageError(
                f"{len(self.predicted)} answers are measured against {len(self.gold)} right ones",
                expected="as many of both, at least one",
                remedy="Hand over all queries once.",
            )
        if self.labels and (strange := set(self.gold) - set(self.labels)):
            raise UnknownLabelError(min(strange), known=self.labels, where="the answers")
        if self.logprobs is not None:
            _check_logprobs(self.logprobs, len(self.gold), self.labels)


@dataclass(frozen=True)
class MetricResult:
    """A metric of one run.

    Attributes:
        metric: Its name in `METRICS`.
        value: From 0 to 1.
        per_query: N values whose mean is the value, for paired tests; empty where a metric is no mean over queries.
        signature: How a library computed it, as it asks to be cited; empty elsewhere.
    """

    metric: str
    value: float
    per_query: tuple[float, ...] = ()
    signature: str = ""


@dataclass(frozen=True)
class CalibrationBin:
    """The answers whose confidence lies in one bin.

    Attributes:
        low: The lower end, which belongs to the bin below.
        high: The upper end, which belongs to this bin.
        count: Its queries.
        confidence: Their mean highest probability; 0 where there is no query.
        accuracy: The share of them whose label of highest probability is right; 0 where there is no query.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Metric:
    """A metric, by name in `METRICS`.

    Attributes:
        kind: Which kind of task it is for.
        compute: Answers to result.
        higher_is_better: Whether a higher value is better.
        needs_logprobs: Whether the answers must come with log-probabilities of the labels.
    """

    kind: TaskKind
    compute: Callable[[Answers], MetricResult]
    higher_is_better: bool = True
    needs_logprobs: bool = False


def accuracy(answers: Answers) -> MetricResult:
    """Gives the share of right labels.

    Args:
        answers: Labels.

    Returns:
        The accuracy.
    """
    return _mean("accuracy", [given == gold for gold, given in _pairs(answers)])


def macro_f1(answers: Answers) -> MetricResult:
    """Gives the mean over labels of the harmonic mean of precision and recall (scikit-learn's "macro").

    The mean is over the labels that occur, as gold or as answer.

    Args:
        answers: Labels.

    Returns:
        The macro-averaged F1.
    """
    from sklearn.metrics import f1_score

    value = f1_score(list(answers.gold), list(answers.predicted), average="macro", zero_division=0)
    return MetricResult("macro-f1", float(value))


def balanced_accuracy(answers: Answers) -> MetricResult:
    """Gives the mean over gold labels of the share that is found (Brodersen et al., 2010).

    Args:
        answers: Labels.

    Returns:
        The balanced accuracy; chance is 1 / number of gold labels.
    """
    from sklearn.metrics import recall_score

    # The same as balanced_accuracy_score, which warns of answers that are nobody's gold label.
    value = recall_score(
        list(answers.gold), list(answers.predicted), labels=sorted(set(answers.gold)), average="macro", zero_division=0
    )
    return MetricResult("balanced-accuracy", float(value))


def calibration_bins(answers: Answers, *, bins: int = CALIBRATION_BINS) -> tuple[CalibrationBin, ...]:
    """Sorts answers by their confidence, as a reliability diagram shows them (Guo et al., 2017).

    The confidence of a query is its highest probability, and its answer the label that has it, whatever was answered.

    Args:
        answers: Labels with log-probabilities.
        bins: Bins of equal width over probabilities from 0 to 1.

    Returns:
        All bins, lowest first, with the empty ones.

    Raises:
        UsageError: When there are no log-probabilities, or no bin.
    """
    if answers.logprobs is None:
        raise UsageError(
            "the answers come without log-probabilities",
            expected="those of every label",
            remedy="Measure calibration only where a language model scores labels.",
        )
    if bins < 1:
        raise UsageError(f"{bins} bins are asked for", expected="at least one", remedy="Use 15, as Guo et al. (2017).")
    position = {label: number for number, label in enumerate(answers.labels)}
    confidence = np.minimum(np.exp(answers.logprobs.max(axis=1)), 1.0)
    right = answers.logprobs.argmax(axis=1) == np.array([position[label] for label in answers.gold])
    edges = np.linspace(0, 1, bins + 1)
    members = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    return tuple(
        CalibrationBin(
            float(edges[number]),
            float(edges[number + 1]),
            int((own := members == number).sum()),
            float(confidence[own].mean()) if own.any() else 0.0,
            float(right[own].mean()) if own.any() else 0.0,
        )
        for number in range(bins)
    )


def expected_calibration_error(answers: Answers) -> MetricResult:
    """Gives how far confidence and accuracy are apart, over 15 bins of equal width (Guo et al., 2017, equation 3).

    Args:
        answers: Labels with log-probabilities.

    Returns:
        The error; 0 is best.

    Raises:
        UsageError: When there are no log-probabilities.
    """
    bins = calibration_bins(answers)
    gaps = sum(own.count * abs(own.accuracy - own.confidence) for own in bins)
    return MetricResult("ece", float(gaps / len(answers.gold)))


def exact_match(answers: Answers) -> MetricResult:
    """Gives the share of texts that are the gold one but for case and white space.

    Args:
        answers: Texts.

    Returns:
        The exact match, which is the accuracy of free text elsewhere in the library.
    """
    return _mean("exact-match", [same_text(given, gold) for gold, given in _pairs(answers)])


def token_f1(answers: Answers) -> MetricResult:
    """Gives the mean overlap of tokens (Rajpurkar et al., 2016, with the rule of 2018 for texts without tokens).

    Tokens are what white space separates, after case, punctuation and the articles a, an and the are taken away. Each
    token counts as often as it occurs in both texts. Where a text has no token left, only another such text matches.

    Args:
        answers: Texts.

    Returns:
        The F1.
    """
    return _mean("token-f1", [_token_f1(given, gold) for gold, given in _pairs(answers)])


def bleu(answers: Answers) -> MetricResult:
    """Gives the BLEU of the whole run (Papineni et al., 2002), by sacrebleu (Post, 2018) with its defaults.

    It counts up to four tokens in a row: where texts are shorter than that, it says little.

    Args:
        answers: Texts.

    Returns:
        sacrebleu's score / 100, with its signature.

    Raises:
        ExtraMissingError: When sacrebleu is not installed.
    """
    scorer = _library("sacrebleu.metrics", package="sacrebleu").BLEU()
    value = scorer.corpus_score(list(answers.predicted), [list(answers.gold)]).score / 100
    return MetricResult("bleu", min(1.0, float(value)), signature=str(scorer.get_signature()))


def rouge_l(answers: Answers) -> MetricResult:
    """Gives the mean F1 of the longest common subsequence (Lin, 2004), by rouge-score without stemming.

    Args:
        answers: Texts.

    Returns:
        The ROUGE-L; a text without letters or digits has 0, even beside itself.

    Raises:
        ExtraMissingError: When rouge-score is not installed.
    """
    scorer = _library("rouge_score.rouge_scorer", package="rouge-score").RougeScorer(["rougeL"], use_stemmer=False)
    return _mean("rouge-l", [scorer.score(gold, given)["rougeL"].fmeasure for gold, given in _pairs(answers)])


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        "accuracy": Metric("classification", accuracy),
        "macro-f1": Metric("classification", macro_f1),
        "balanced-accuracy": Metric("classification", balanced_accuracy),
        "ece": Metric("classification", expected_calibration_error, higher_is_better=False, needs_logprobs=True),
        "exact-match": Metric("generation", exact_match),
        "token-f1": Metric("generation", token_f1),
        "bleu": Metric("generation", bleu),
        "rouge-l": Metric("generation", rouge_l),
    }
)


def metric_named(name: str, *, kind: TaskKind) -> Metric:
    """Finds a metric that fits a kind of task.

    Args:
        name: Its name.
        kind: Which kind of task it is for.

    Returns:
        The metric.

    Raises:
        UnknownNameError: When none of that name is for such tasks.
    """
    fitting = [each for each, metric in METRICS.items() if metric.kind == kind]
    if name not in fitting:
        raise UnknownNameError(f"metric for {kind}", name, known=fitting)
    return METRICS[name]


def _pairs(answers: Answers) -> list[tuple[str, str]]:
    return list(zip(answers.gold, answers.predicted, strict=True))


def _mean(metric: str, values: Sequence[float]) -> MetricResult:
    return MetricResult(metric, float(np.mean(values)), tuple(float(value) for value in values))


def _token_f1(answer: str, gold: str) -> float:
    given, wanted = _tokens(answer), _tokens(gold)
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))


def _tokens(text: str) -> list[str]:
    # Punctuation is taken away, not turned into space, before articles are: the order of SQuAD's script.
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _check_logprobs(logprobs: Values, count: int, labels: Sequence[str]) -> None:
    if logprobs.shape != (count, len(labels)) or not len(labels):
        raise UsageError(
            f"log-probabilities have shape {logprobs.shape}",
            expected=f"({count}, {len(labels)}): a row for each query, a column for each label",
            remedy="Name the labels in the order of the columns.",
        )
    if not np.allclose(np.exp(logprobs).sum(axis=1), 1.0, atol=1e-4):
        raise UsageError(
            "log-probabilities are not normalised",
            expected="rows whose exponentials sum to 1",
            remedy="Use selector.inference.calibration.log_softmax.",
        )


def _library(module: str, *, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissingError(package=package, extra=EXTRA) from error
