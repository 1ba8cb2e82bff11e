"""In-context learning as a scikit-learn classifier: the training rows are the pool, nothing else is fitted.

The estimator keeps its parameters as they were given, so that `clone` and `GridSearchCV` work; clones share a language
model that was given as an object. Models given by name are loaded once in a process.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from selector.adapters.columns import Columns
from selector.adapters.source import SelectorBuilder
from selector.adapters.tabular import field_names, is_mappings, is_text, records
from selector.data.paths import score_store_path
from selector.errors import ExtraMissingError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.prompting.plain_template import plain_template, verbalized
from selector.prompting.template import PromptTemplate
from selector.retrieval.encoder import SentenceEncoder, TextEncoder
from selector.strategies.base import Selector
from selector.strategies.exported import load_learned
from selector.strategies.named import METHODS, TEXT_METHODS, build_selector
from selector.types import Query, Selection

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        check_consistent_length,
        check_is_fitted,
        check_random_state,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise ExtraMissingError(package="scikit-learn", extra="sklearn") from error

if TYPE_CHECKING:
    from numpy.random import RandomState

LOADED_MODELS = 2  # kept in memory for the next fit


class ICLClassifier(ClassifierMixin, BaseEstimator):
    """Classifies texts with a language model that sees labelled ones in its prompt.

    X is a list of texts or of mappings, a data frame, or an array with a column for each field.

    Args:
        method: What chooses: the name of a method ("nearest", "bm25", "random"), the folder of an exported policy or a
            trained retriever, or a function from a pool to a selector.
        k: Demonstrations for each prompt.
        lm: The language model: what `LanguageModelConfig.model` takes, or one that is loaded.
        template: One example, such as "Review: {text} Sentiment:{label}", or a template whose labels are the classes;
            None writes one line for each field and one for the label.
        encoder: A bundled name, folder or hub id of a sentence encoder, for the methods that compare embeddings.
        scoring: "direct", "ppl" or "channel".
        calibration: "none", "contextual" or "batch".
        random_state: Seeds the methods with random choices.

    Attributes:
        classes_: (L,) the classes, sorted.
        pool_: The training rows as a pool, in their order.
        template_: The template.
        columns_: The input columns.
        engine_: What answers.
        selector_: What chooses.
    """

    def __init__(
        self,
        *,
        method: str | Path | SelectorBuilder = "nearest",
        k: int = 4,
        lm: str | LanguageModel = "smollm2-135m-instruct",
        template: str | PromptTemplate | None = None,
        encoder: str = "all-minilm-l6-v2",
        scoring: str = "direct",
        calibration: str = "none",
        random_state: int | RandomState | None = 0,
    ) -> None:
        self.method = method
        self.k = k
        self.lm = lm
        self.template = template
        self.encoder = encoder
        self.scoring = scoring
        self.calibration = calibration
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> ICLClassifier:  # noqa: N803 - scikit-learn's names
        """Takes labelled rows as the pool and loads what chooses and answers.

        Args:
            X: N samples.
            y: (N,) their classes.

        Returns:
            This estimator.

        Raises:
            UsageError: When the template has no label for a class.
            UnknownNameError: When the method is not known.
            ArtifactError: When the folder of a policy is damaged.
        """
        X, y = self._checked(X, y)  # noqa: N806
        self.classes_ = np.unique(y)
        names = self._class_names()
        self.template_ = self._template(field_names(X), names)
        self.columns_ = Columns(self.template_.input_fields)
        rows = records(X, self.columns_.inputs)
        labels = [str(value) for value in y]
        self.pool_ = self.columns_.pool({**row, "label": label} for row, label in zip(rows, labels, strict=True))
        self._load()
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """Answers with the most probable class.

        Args:
            X: N samples.

        Returns:
            (N,) classes.

        Raises:
            TooFewExamplesError: When the pool without a sample and its duplicates holds fewer than k.
        """
        answers: npt.NDArray[Any] = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[answers])

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Gives the distribution over the classes.

        Args:
            X: N samples.

        Returns:
            (N, L) in the order of `classes_`; every row sums to 1.

        Raises:
            TooFewExamplesError: When the pool without a sample and its duplicates holds fewer than k.
        """
        queries, selections = self._selected(X)
        names = self._class_names()
        predictions = self.engine_.predict(queries, selections)
        rows = [[prediction.probabilities[name] for name in names] for prediction in predictions]
        probabilities = np.array(rows, dtype=np.float64).reshape(len(queries), len(names))
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def select(self, X: Any) -> list[list[int]]:  # noqa: N803
        """Chooses demonstrations.

        Args:
            X: N samples.

        Returns:
            For each sample the positions of training rows in prompt order: the last stands next to the sample.

        Raises:
            TooFewExamplesError: When the pool without a sample and its duplicates holds fewer than k.
        """
        return [list(chosen.indices) for chosen in self._selected(X)[1]]

    def _selected(self, X: Any) -> tuple[list[Query], list[Selection]]:  # noqa: N803
        check_is_fitted(self)
        if not (is_text(X) or is_mappings(X)):
            validated = validate_data(self, X, dtype=None, reset=False)
            X = X if hasattr(X, "columns") else validated  # noqa: N806 - columns of a data frame are told by name
        queries = [self.columns_.query(row) for row in records(X, self.columns_.inputs)]
        return queries, self.selector_.select(queries, self.k)

    def _checked(self, X: Any, y: Any) -> tuple[Any, npt.NDArray[Any]]:  # noqa: N803
        if is_text(X) or is_mappings(X):
            labels = column_or_1d(y, warn=True)
            check_consistent_length(X, labels)
        else:
            validated, labels = validate_data(self, X, y, dtype=None)
            X = X if hasattr(X, "columns") else validated  # noqa: N806
        check_classification_targets(labels)
        return X, np.asarray(labels)

    def _class_names(self) -> list[str]:
        return [str(value) for value in self.classes_]

    def _template(self, fields: tuple[str, ...], names: list[str]) -> PromptTemplate:
        if self.template is None:
            return plain_template(fields, names)
        if isinstance(self.template, str):
            return verbalized(self.template, names)
        if missing := sorted(set(names) - set(self.template.labels)):
            raise UsageError(
                f"the template has no label for the classes {missing}",
                expected="a label for every class",
                remedy="Add them to the template's verbalizers.",
            )
        return self.template

    def _load(self) -> None:
        lm = _language_model(self.lm) if isinstance(self.lm, str) else self.lm
        self.engine_ = InferenceEngine(
            lm, self.template_, self.pool_, scoring=self.scoring, calibration=self.calibration
        )
        self.selector_ = self._build()

    def _build(self) -> Selector:
        if callable(self.method):
            return self.method(self.pool_)
        method = str(self.method)
        if method not in METHODS and Path(method).is_dir():
            return load_learned(method, self.pool_, force=True, engine=lambda: self.engine_)
        # No method of texts looks at the encoder, so none is loaded for it.
        encoder = cast("TextEncoder", None) if method in TEXT_METHODS else _encoder(self.encoder)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return build_selector(method, engine=self.engine_, encoder=encoder, dev=(), seed=seed)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out models and selectors, which are loaded again."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in {"engine_", "selector_"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "pool_" in state:
            self._load()

    def __sklearn_clone__(self) -> ICLClassifier:
        """Shares the parameters instead of copying them: one of them may be a language model."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.classifier_tags.poor_score = True  # what the language model makes of rows of numbers is not promised
        return tags


@lru_cache(maxsize=LOADED_MODELS)
def _language_model(name: str) -> LanguageModel:
    return load_language_model(LanguageModelConfig(model=name), store=score_store_path())


@lru_cache(maxsize=LOADED_MODELS)
def _encoder(name: str) -> SentenceEncoder:
    return SentenceEncoder.load(name)
