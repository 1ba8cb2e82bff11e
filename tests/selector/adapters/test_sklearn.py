"""Tests of the scikit-learn classifier: scikit-learn's own checks, its tools, and what it answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

from selector.adapters import sklearn as adapter
from selector.adapters.sklearn import ICLClassifier
from selector.data.task import Task
from selector.errors import TooFewExamplesError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.prompting.plain_template import plain_template
from selector.prompting.template import PromptTemplate
from selector.strategies.exported import load_policy
from selector.strategies.lexical import BM25Selector
from selector.testing import ToyLanguageModel, planted_examples, planted_template

TRAIN = planted_examples(24)
TEST = planted_examples(10, seed=3, prefix="query")
TEXTS, LABELS = [one.fields["text"] for one in TRAIN], [str(one.label) for one in TRAIN]
ASKED, GOLD = [one.fields["text"] for one in TEST], [str(one.label) for one in TEST]


def small(**changes: Any) -> ICLClassifier:
    settings = {"method": BM25Selector, "k": 2, "lm": ToyLanguageModel()}
    return ICLClassifier(**(settings | changes))


# The names that `parametrize_with_checks` gives hold an address, so that processes would not collect the same tests.
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(small())),
    ids=lambda part: getattr(part, "func", small).__name__,
)
def test_scikit_learn_takes_it_for_an_estimator(estimator: Any, check: Any) -> None:
    """Guards the conventions of scikit-learn, by its own checks; none is expected to fail."""
    check(estimator)


def fields() -> dict[str, Any]:
    """The same samples in every form that X may have, and one that a template can name."""
    texts = np.array(TEXTS, dtype=object)
    return {
        "list": TEXTS,
        "array": texts,
        "column": texts.reshape(-1, 1),
        "series": pd.Series(TEXTS, index=range(100, 100 + len(TEXTS))),
        "mappings": [{"text": text} for text in TEXTS],
        "frame": pd.DataFrame({"note": 1, "text": TEXTS}),
    }


@pytest.mark.parametrize("form", list(fields()))
def test_every_form_of_x_is_the_same_pool(form: str) -> None:
    """Guards against an index of pandas taken for a position, and columns taken for one another."""
    template = "{text}\nlabel:{label}"
    want, made = small(template=template).fit(TEXTS, LABELS), small(template=template).fit(fields()[form], LABELS)
    assert [example.fields for example in made.pool_] == [{"text": text} for text in TEXTS]
    assert made.pool_.fingerprint == want.pool_.fingerprint
    asked = fields()[form][3:7] if form != "frame" else fields()[form].iloc[3:7]
    assert made.select(asked) == want.select(TEXTS[3:7])


def test_it_answers_as_the_engine_does() -> None:
    """Guards probabilities: columns in the order of the classes, whatever the order of the template's labels."""
    lm, names = ToyLanguageModel(), {"rotten": " bad", "unused": " odd", "fresh": " good"}
    template = PromptTemplate(template=planted_template().template, verbalizers=names)
    made = small(template=template, lm=lm).fit(TEXTS, LABELS)
    assert made.classes_.tolist() == ["fresh", "rotten"]
    engine = InferenceEngine(lm, template, made.pool_)
    queries = [made.columns_.query({"text": text}) for text in ASKED]
    predictions = engine.predict(queries, BM25Selector(made.pool_).select(queries, 2))
    want = np.array([[one.probabilities["fresh"], one.probabilities["rotten"]] for one in predictions])
    want /= want.sum(axis=1, keepdims=True)
    assert made.predict_proba(ASKED) == pytest.approx(want)
    assert made.predict(ASKED).tolist() == made.classes_[want.argmax(axis=1)].tolist()
    assert made.score(ASKED, GOLD) > 0.6


def test_a_selected_row_is_a_position_in_the_training_rows() -> None:
    """Guards `select` against rows that show themselves, and against positions of something else."""
    made = small().fit(TEXTS, LABELS)
    chosen = made.select(TEXTS)
    assert all(len(own) == 2 and number not in own for number, own in enumerate(chosen))
    assert made.select([TEXTS[5] + " again"])[0][-1] == 5


def test_numbers_are_classes_too() -> None:
    """Guards labels that come back as text, and pairs of fields."""
    pairs = [[text, "review"] for text in TEXTS]
    made = small().fit(pairs, [label == "fresh" for label in LABELS])
    assert made.classes_.tolist() == [False, True]
    assert made.predict([[ASKED[0], "review"]]).dtype == bool
    assert made.template_ == plain_template(["x0", "x1"], ["False", "True"])


def test_a_grid_is_searched_and_clones_share_the_model() -> None:
    """Guards `clone` and `GridSearchCV`: parameters as they were, one language model, the best refitted."""
    own = small()
    copied = clone(own)
    assert copied is not own
    assert copied.get_params() == own.get_params()
    assert copied.lm is own.lm
    search = GridSearchCV(own, {"k": [1, 3], "calibration": ["none", "contextual"]}, cv=2)
    search.fit(TEXTS, LABELS)
    assert set(search.best_params_) == {"k", "calibration"}
    assert search.predict(ASKED).shape == (10,)
    lowered = make_pipeline(FunctionTransformer(lambda texts: [text.lower() for text in texts]), own)
    assert cross_val_score(lowered, TEXTS, LABELS, cv=2).shape == (2,)


def test_a_fitted_classifier_is_written_without_its_models() -> None:
    """Guards `joblib.dump` against a copy of the language model in every file, and against other answers after it."""
    made = small(method="random", random_state=7).fit(TEXTS, LABELS)
    assert not {"engine_", "selector_"} & made.__getstate__().keys()
    file = io.BytesIO()
    joblib.dump(made, file)
    file.seek(0)
    again = joblib.load(file)
    assert again.select(ASKED) == made.select(ASKED)
    assert np.array_equal(again.predict_proba(ASKED), made.predict_proba(ASKED))


def test_the_seed_decides_random_choices() -> None:
    """Guards reproducibility, and that the parameter is used at all."""
    chosen = [small(method="random", random_state=seed).fit(TEXTS, LABELS).select(ASKED) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    shared = small(method="random", random_state=np.random.RandomState(0))
    assert len(shared.fit(TEXTS, LABELS).select(ASKED)) == 10


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    adapter._language_model.cache_clear()
    yield
    adapter._language_model.cache_clear()


@pytest.mark.usefixtures("own_cache")
def test_models_and_policies_are_named(planted_policy: Path, planted_task: Path, tiny_encoder: Path) -> None:
    """Guards what a user writes: a model by name, loaded once, and the folder of an exported policy as the method."""
    task = Task.load(planted_task)
    texts, labels = [one.fields["text"] for one in task.pool], [str(one.label) for one in task.pool]
    made = small(method=str(planted_policy), lm=task.lm.model, template=task.template).fit(texts, labels)
    queries = [made.columns_.query({"text": text}) for text in ASKED]
    want = load_policy(planted_policy, task.pool).select(queries, 2)
    assert made.select(ASKED) == [list(one.indices) for one in want]
    assert made.predict(ASKED).shape == (10,)
    assert clone(made).fit(texts, labels).engine_.lm is made.engine_.lm
    near = small(method="nearest", encoder=str(tiny_encoder)).fit(texts, labels)
    assert near.select([texts[4] + "!!!", texts[5] + " 1"])[1][-1] == 5


def test_mistakes_are_named() -> None:
    """Guards unknown methods, labels that a template lacks, X of another width."""
    with pytest.raises(UnknownNameError, match="bm52"):
        small(method="bm52").fit(TEXTS, LABELS)
    with pytest.raises(UsageError, match="no label for the classes"):
        small(template=planted_template()).fit(TEXTS[:2], ["fresh", "stale"])
    with pytest.raises(UsageError, match="one for each of the fields"):
        small(template="{a} {b} {label}").fit(TEXTS, LABELS)
    with pytest.raises(TooFewExamplesError):
        small(k=24).fit(TEXTS, LABELS).predict(TEXTS[:1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(TEXTS, LABELS[:-1])
