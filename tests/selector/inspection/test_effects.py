"""Tests of what each demonstration does to an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from selector.data.pool import Pool
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.inspection.effects import explain, moved, without
from selector.prompting.template import PromptTemplate
from selector.testing import ScriptedLanguageModel, ToyLanguageModel, planted_examples, planted_template
from selector.types import Example, Selection


def test_effects_are_differences_of_prompts_written_out(engine: InferenceEngine) -> None:
    """Guards sign and partner of every difference against the engine asked by hand."""
    query, selection = planted_examples(1, seed=9, prefix="q")[0], Selection.of(3, 8, 5)
    found = explain(engine, query, selection)
    whole = engine.gold_logprobs([query], [selection])[0]
    assert (found.logprob, found.gold, found.explained) == (pytest.approx(whole), True, query.label)
    assert found.zero_shot == pytest.approx(engine.gold_logprobs([query], [Selection.of()])[0])
    for place, one in enumerate(found.effects):
        left = [index for other, index in enumerate(selection.indices) if other != place]
        assert one.influence == pytest.approx(whole - engine.gold_logprobs([query], [Selection.of(*left)])[0])
        for target in range(3):
            order = [*left[:target], selection.indices[place], *left[target:]]
            by_hand = engine.gold_logprobs([query], [Selection.of(*order)])[0]
            assert one.places[target] == pytest.approx(by_hand)
        (other,) = set(engine.labels) - {one.label}
        changed = [*engine.pool]
        changed[selection.indices[place]] = replace(changed[selection.indices[place]], label=other)
        flipped = InferenceEngine(engine.lm, engine.template, Pool(changed))
        assert one.flips == {other: pytest.approx(whole - flipped.gold_logprobs([query], [selection])[0])}
        assert one.flip == pytest.approx(one.flips[other])
        assert one.place_range == pytest.approx(max(one.places) - min(one.places))
        assert one.places[one.best_place] == max(one.places)


def test_the_demonstration_that_is_copied_from_matters_most() -> None:
    """Guards the meaning: the toy model copies from the demonstration most like the query."""
    pool = Pool(
        [
            Example("far", {"text": "one two three"}, "rotten"),
            Example("near", {"text": "the plot is warm and funny"}, "fresh"),
            Example("other", {"text": "nine ten eleven"}, "rotten"),
        ]
    )
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    query = Example("q", {"text": "the plot is warm and moving"}, "fresh")
    found = explain(engine, query, Selection.of(0, 1, 2))
    influences = [one.influence for one in found.effects]
    assert int(np.argmax(influences)) == 1
    assert influences[1] > 0 > influences[2]
    assert found.effects[1].flip > 0


def test_a_template_with_rationales_is_refused_before_anything_is_asked() -> None:
    """Guards the presets that reason: the answer was written, and then could not be scored."""
    template = PromptTemplate("Q: {text}\nA:{rationale}\nSo{label}", answer_tokens=4)
    pool = Pool([replace(one, rationale="It is so.") for one in planted_examples(4)])
    lm = ToyLanguageModel()
    with pytest.raises(UsageError, match="rationale"):
        explain(InferenceEngine(lm, template, pool), planted_examples(1, seed=9, prefix="q")[0], Selection.of(0))
    assert lm.usage.calls == 0


def test_the_prediction_is_explained_where_no_label_is_known(engine: InferenceEngine) -> None:
    """Guards queries from --text, and batch calibration, which one query cannot have."""
    query = Example("q", {"text": "the plot is warm"})
    batched = InferenceEngine(engine.lm, engine.template, engine.pool, calibration="batch")
    for own in (engine, batched):
        found = explain(own, query, Selection.of(0, 1))
        assert (found.gold, found.explained) == (False, found.predicted)
    bare = explain(engine, query, Selection.of())
    assert (bare.effects, bare.logprob) == ((), bare.zero_shot)


def test_what_does_not_fit_is_not_explained() -> None:
    """Guards against effects of demonstrations that the model never saw."""
    pool = Pool(planted_examples(6))
    engine = InferenceEngine(ToyLanguageModel(context_length=44), planted_template(), pool)
    query = planted_examples(1, seed=3, prefix="q")[0]
    found = explain(engine, query, Selection.of(0, 1, 2, 3))
    assert 0 < len(found.effects) < 4
    assert [one.uid for one in found.effects] == [pool[index].uid for index in found.selection.indices]


def test_a_flip_that_leaves_no_room_is_left_out() -> None:
    """Guards labels of several words: the flipped prompt lost demonstrations, and another prompt was measured."""
    labels = {"a": " a", "b": " b" * 12}
    template = PromptTemplate("{text}\nL:{label}", labels)
    pool = Pool([Example(str(at), {"text": f"word{at} and more"}, "a") for at in range(3)])
    query = Example("q", {"text": "word1"}, "a")
    (needed,) = ToyLanguageModel().count_tokens([template.prompt([*pool], query) + labels["b"]])
    wide, narrow = (
        explain(InferenceEngine(ToyLanguageModel(context_length=size), template, pool), query, Selection.of(0, 1, 2))
        for size in (200, needed + 5)
    )
    assert [list(one.flips) for one in wide.effects] == [["b"]] * 3
    assert [dict(one.flips) for one in narrow.effects] == [{}] * 3
    assert narrow.logprob == wide.logprob


def test_what_cannot_be_read_is_not_explained() -> None:
    """Guards answers in which no number was found: the effects were those of a blank."""
    template = PromptTemplate("Q: {text}\nA:{label}", answer_tokens=4, answer_rule="number")
    lm, pool = ScriptedLanguageModel(lambda *_: " many"), Pool([Example("a", {"text": "1"}, "1")])
    engine = InferenceEngine(lm, template, pool)
    with pytest.raises(UsageError, match=r"no answer is read.*many.*--gold"):
        explain(engine, Example("q", {"text": "2"}), Selection.of(0))


def test_many_labels_are_flipped_to_the_most_probable() -> None:
    """Guards tasks of a hundred labels against a hundred prompts for each demonstration."""
    labels = [f"label{number}" for number in range(12)]
    template = PromptTemplate("Text: {text}\nLabel:{label}", {label: f" {label}" for label in labels})
    pool = Pool(Example(str(at), {"text": f"word{at}"}, label) for at, label in enumerate(labels))
    engine = InferenceEngine(ToyLanguageModel(), template, pool)
    found = explain(engine, Example("q", {"text": "word3"}, "label3"), Selection.of(3, 4), most_flips=3)
    assert [len(one.flips) for one in found.effects] == [3, 3]
    assert all(one.label not in one.flips for one in found.effects)


def test_free_texts_are_explained_by_their_target() -> None:
    """Guards targets that are written: no label to flip to, influence all the same."""
    template = PromptTemplate("Q: {text}\nA:{label}", answer_tokens=4)
    pool = Pool([Example("a", {"text": "one"}, "uno"), Example("b", {"text": "two"}, "dos")])
    engine = InferenceEngine(ToyLanguageModel(), template, pool)
    found = explain(engine, Example("q", {"text": "one again"}, "uno"), Selection.of(0, 1))
    assert [one.flips for one in found.effects] == [{}, {}]
    assert found.effects[0].influence > found.effects[1].influence


@pytest.mark.parametrize("count", [1, 2, 4])
def test_moving_and_leaving_out_keep_the_others_in_order(count: int) -> None:
    """Guards the two rearrangements: nothing lost, nothing else moved."""
    for place in range(count):
        assert list(without(count, place).indices) == [other for other in range(count) if other != place]
        for target in range(count):
            order = list(moved(count, place, target).indices)
            assert order.index(place) == target
            assert [other for other in order if other != place] == list(without(count, place).indices)
        assert moved(count, place, place) == Selection.of(*range(count))
