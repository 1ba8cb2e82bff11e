"""Tests of references."""

import numpy as np
import pytest

from selector.data.pool import Pool
from selector.errors import TooFewExamplesError, UnknownNameError
from selector.evaluation.references import (
    REFERENCES,
    label_vote,
    logistic_regression,
    majority,
    reference_answers,
    vote_of,
)
from selector.evaluation.runs import Reference, refer_once
from selector.inference.engine import InferenceEngine
from selector.prompting.template import PromptTemplate
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool
from selector.types import Example, Selection


def _accuracy(answers, queries) -> float:
    return sum(answer == query.label for answer, query in zip(answers, queries, strict=True)) / len(queries)


def test_votes_count_before_scores_before_names() -> None:
    """Guards against ties that fall to whichever label was met first."""
    pool = planted_pool(6)  # fresh at 0, 2, 4 and rotten at 1, 3, 5
    assert vote_of(Selection((0, 1, 3), (9.0, 0.1, 0.1)), pool) == "rotten"
    assert vote_of(Selection((1, 0), (0.9, 0.1)), pool) == "rotten"
    assert vote_of(Selection((1, 0), (0.5, 0.5)), pool) == "fresh"


def test_nobody_to_vote_is_an_error() -> None:
    """Guards against a bare ValueError from `min()` where a policy stopped at once."""
    with pytest.raises(TooFewExamplesError):
        vote_of(Selection((), ()), planted_pool(4))


@pytest.mark.parametrize(
    "answer",
    [
        lambda pool, queries: label_vote(pool, ToyEncoder(), queries, 5),
        lambda pool, queries: logistic_regression(pool, ToyEncoder(), queries),
    ],
)
def test_embeddings_alone_answer_the_planted_task(answer) -> None:
    """Guards against references too weak to be a bar: words tell the label, so chance (0.5) must be left far behind."""
    queries = planted_examples(40, seed=5, prefix="query")
    assert _accuracy(answer(planted_pool(80), queries), queries) > 0.75


def test_a_query_does_not_vote_for_itself() -> None:
    """Guards against leave-one-out lost in the reference: a member asked about must not answer with its own label."""
    pool = Pool([Example("a", {"text": "one word"}, "x"), Example("b", {"text": "one other word"}, "y")])
    assert label_vote(pool, ToyEncoder(), [pool[0], pool[1]], 1) == ["y", "x"]


def test_a_query_is_not_learned_from() -> None:
    """Guards leave-one-out of the regression: with labels drawn by lot, members answered themselves."""
    rng = np.random.default_rng(0)
    pool = Pool([Example(str(at), {"text": f"word{at} and word{at + 1}"}, str(rng.integers(2))) for at in range(60)])
    queries = list(pool)[:30]
    answers = logistic_regression(pool, ToyEncoder(), queries)
    assert answers == logistic_regression(pool.subset(range(30, 60)), ToyEncoder(), queries)
    with pytest.raises(TooFewExamplesError):
        logistic_regression(pool, ToyEncoder(), list(pool))


def test_majority_breaks_ties_by_name() -> None:
    """Guards against an answer that depends on the order of the pool or of a set."""
    rows = [Example(str(number), {"text": f"t{number}"}, label) for number, label in enumerate("bbaac")]
    assert majority(Pool(rows), rows) == ["a"] * 5
    assert majority(Pool(rows[::-1]), rows) == ["a"] * 5


def test_one_label_needs_no_regression() -> None:
    """Guards against scikit-learn's error on a single class."""
    pool = Pool([Example("a", {"text": "one"}, "x"), Example("b", {"text": "two"}, "x")])
    assert logistic_regression(pool, ToyEncoder(), planted_examples(2)) == ["x", "x"]
    assert logistic_regression(planted_pool(4), ToyEncoder(), []) == []


def test_by_name(pool, encoder, queries) -> None:
    """Guards against names in REFERENCES that nothing stands behind."""
    for name in REFERENCES:
        answers = reference_answers(name, pool=pool, encoder=encoder, queries=queries, shots=0)
        assert set(answers) <= set(pool.labels)
    with pytest.raises(UnknownNameError, match="label-vote"):
        reference_answers("oracle", pool=pool, encoder=encoder, queries=queries, shots=4)


def test_references_are_right_where_methods_are() -> None:
    """Guards baselines on written answers: aliases and the answer rule counted for methods alone."""
    template = PromptTemplate("{text}{label}", {}, answer_tokens=4, answer_rule="number")
    pool = Pool([Example(f"p{at}", {"text": f"sum {at} of it"}, "1000") for at in range(6)])
    engine = InferenceEngine(ToyLanguageModel(), template, pool)
    reference = Reference("majority", lambda queries: ["1000" for _ in queries])
    (outcome,) = refer_once(engine, [Example("q", {"text": "?"}, "1,000")], reference, shots=1).outcomes
    assert outcome.correct
