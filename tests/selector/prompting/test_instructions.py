"""Tests of inducing and ranking instructions, and of choosing templates by mutual information."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from selector.data.pool import Pool
from selector.errors import (
    DataFileError,
    InvalidExampleError,
    TooFewExamplesError,
    UnknownLabelError,
    UnknownNameError,
    UsageError,
)
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.prompting.instructions import (
    BY_HAND,
    INDUCED,
    InductionConfig,
    cleaned_instruction,
    induce_instructions,
    rank_instructions,
)
from selector.prompting.mutual_information import load_templates, mutual_information, rank_templates
from selector.prompting.template import PromptTemplate
from selector.testing import ScriptedLanguageModel, planted_template
from selector.types import Example, Selection

GOOD, BAD = "Say whether the review is fresh.", "Write a poem."


class Obedient(ScriptedLanguageModel):
    """Finds the right label behind a good instruction or a good template, else says fresh, or does not know."""

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        self._usage = self.usage.also(calls=len(prompts), tokens=len(prompts), tokens_computed=len(prompts))
        return [self._judged(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    @staticmethod
    def _judged(prompt: str, completion: str) -> CompletionScore:
        text = prompt.rpartition("the ")[2]
        warm = any(word in text for word in ("warm", "brilliant", "funny", "moving", "superb", "delightful"))
        chance = 0.9 if completion.strip() == "fresh" else 0.1
        if GOOD in prompt:
            chance = 0.8 if warm == (completion.strip() == "fresh") else 0.2
        elif "unsure" in prompt:
            chance = 0.5
        return CompletionScore(math.log(chance), 1, 1)


def engine_of(pool: Pool, replies: Any = lambda prompt, seed: "") -> InferenceEngine:
    return InferenceEngine(Obedient(replies), planted_template(), pool)


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        (" say whether it is fresh. Then more.\nText: x", "Say whether it is fresh."),
        ('\n\n"Judge the review"', "Judge the review."),
        (" to judge the review", "Judge the review."),
        ("- Judge it!", "Judge it!"),
        (" \n", ""),
        ("...", "..."),
    ],
)
def test_an_instruction_is_read_in_what_was_written(text: str, instruction: str) -> None:
    """Guards against quotes, lists, invented demonstrations and a doubled "to" in the prompt."""
    assert cleaned_instruction(text) == instruction


@given(st.text(max_size=80))
def test_reading_an_instruction_never_fails(text: str) -> None:
    """Guards against a crash on what a model may write; what is read is one line."""
    assert "\n" not in cleaned_instruction(text)


def test_other_scripts_and_small_pools_are_served(pool: Pool) -> None:
    """Guards Chinese, whose instructions were one word each, and ranking by hand, which draws no demonstrations."""
    written = " \u5224\u65ad\u8bc4\u8bba\u7684\u60c5\u611f\u3002\u597d"
    (proposal,) = induce_instructions(
        engine_of(pool, lambda *_: written), config=InductionConfig(sets=1, per_set=1)
    ).proposals
    assert (proposal.refused, proposal.instruction) == ("", written.strip()[:-1])
    small = Pool([*pool][:2])
    assert induce_instructions(engine_of(small, lambda *_: ""), config=InductionConfig(sets=0)).proposals == ()


def test_induction_shows_demonstrations_and_refuses_duplicates(pool: Pool) -> None:
    """Guards the meta-prompt, the seeds, de-duplication and the refusal of what is no instruction, each counted."""
    texts = [" judge the review.", " JUDGE the  review", " no", " say if it is fresh."]
    engine = engine_of(pool, lambda prompt, seed: texts[seed - 3])
    found = induce_instructions(engine, config=InductionConfig(sets=2, per_set=2, shots=3, seed=3))
    assert found.instructions == ("Judge the review.", "Say if it is fresh.")
    assert [bool(one.refused) for one in found.proposals] == [False, True, True, False]
    assert "before" in found.proposals[1].refused
    assert "1 words" in found.proposals[2].refused
    assert found.usage.calls == 4
    prompts = {one.prompt for one in found.proposals}
    assert len(prompts) == 2
    assert all(prompt.count("Text: the ") == 3 and prompt.endswith("was told to") for prompt in prompts)
    assert not any("Sentiment" in prompt for prompt in prompts)
    with pytest.raises(TooFewExamplesError):
        induce_instructions(engine, config=InductionConfig(shots=99))


@pytest.mark.parametrize("by", ["accuracy", "gold"])
def test_the_best_instruction_on_dev_is_first(pool: Pool, queries: list[Example], by: str) -> None:
    """Guards the ranking: scores are those of the engine with that instruction, none is always there, cost is told."""
    engine = engine_of(pool)
    ranked = rank_instructions(engine, {BAD: BY_HAND, GOOD: INDUCED}, queries, by=by)
    assert [(one.instruction, one.origin) for one in ranked] == [(GOOD, INDUCED), ("", "none"), (BAD, BY_HAND)]
    assert [one.accuracy for one in ranked] == [1.0, 0.5, 0.5]
    assert ranked[0].gold_logprob == pytest.approx(math.log(0.8))
    assert all(one.usage.calls == 2 * len(queries) for one in ranked)
    shown = [Selection.of(0, 1)] * len(queries)
    assert rank_instructions(engine, {GOOD: INDUCED}, queries, selections=shown)[0].accuracy == 1.0


def test_free_texts_are_ranked_too(pool: Pool, queries: list[Example]) -> None:
    """Guards tasks without a closed set of labels: accuracy is of what is written, the log-probability of the gold."""
    template = PromptTemplate(template="Review: {text}\nSentiment:{label}", answer_tokens=4)
    lm = Obedient(lambda prompt, seed: " fresh" if GOOD in prompt else " a poem")
    ranked = rank_instructions(InferenceEngine(lm, template, pool), {GOOD: BY_HAND}, queries)
    assert [(one.instruction, one.accuracy) for one in ranked] == [(GOOD, 0.5), ("", 0.0)]


def test_what_cannot_be_ranked_is_named(pool: Pool, queries: list[Example]) -> None:
    """Guards --by, an empty dev set and unlabelled queries."""
    engine = engine_of(pool)
    with pytest.raises(UnknownNameError, match="luck"):
        rank_instructions(engine, {}, queries, by="luck")
    with pytest.raises(TooFewExamplesError):
        rank_instructions(engine, {}, [])
    with pytest.raises(UnknownLabelError):
        rank_instructions(engine, {}, [replace(queries[0], label=None)])


def test_mutual_information_of_known_distributions() -> None:
    """Guards the formula: sure and different answers carry all of it, equal answers none."""
    assert mutual_information(np.eye(2)) == pytest.approx(math.log(2))
    assert mutual_information(np.full((3, 2), 0.5)) == pytest.approx(0)
    assert mutual_information(np.array([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(0)
    half = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert mutual_information(half) == pytest.approx(math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1))


@given(hnp.arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0.0, 1.0)))
def test_laws_of_mutual_information(weights: Any) -> None:
    """Guards bounds: between 0 and the logarithm of the number of labels, whatever the order of inputs."""
    probabilities = (weights + 1e-6) / (weights + 1e-6).sum(axis=1, keepdims=True)
    value = mutual_information(probabilities)
    assert -1e-9 <= value <= math.log(min(probabilities.shape)) + 1e-9
    assert mutual_information(probabilities[::-1]) == pytest.approx(value, abs=1e-9)


def test_the_template_that_tells_inputs_apart_is_first(pool: Pool, queries: list[Example]) -> None:
    """Guards the choice without labels: a template behind which all answers are the same, or unsure, comes later."""
    engine = engine_of(pool)
    own = engine.template
    templates = [replace(own, instruction="Be unsure."), replace(own, instruction=GOOD), own]
    unlabelled = [replace(query, label=None) for query in queries]
    ranked = rank_templates(engine, templates, unlabelled)
    assert [one.place for one in ranked] == [1, 0, 2]
    best = ranked[0]
    assert best.mutual_information == pytest.approx(best.answer_entropy - best.conditional_entropy)
    assert best.mutual_information > 0.19
    assert ranked[1].mutual_information == pytest.approx(0, abs=1e-12)
    assert [one.usage.calls for one in ranked] == [2 * len(queries)] * 3
    with pytest.raises(TooFewExamplesError, match="templates"):
        rank_templates(engine, [], queries)


def test_templates_are_read_over_the_tasks_own(tmp_path: Path) -> None:
    """Guards --templates: what a line lacks is the task's, and labels keep their order."""
    base = planted_template()
    path = tmp_path / "templates.jsonl"
    labels = {"rotten": " bad", "fresh": " good"}
    rows = [{"template": "{text} It is{label}", "labels": labels}, {"instruction": "Judge."}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    first, second = load_templates(path, base)
    assert (first.template, dict(first.verbalizers)) == ("{text} It is{label}", {"fresh": " good", "rotten": " bad"})
    assert first.labels == base.labels
    assert second == replace(base, instruction="Judge.")


@pytest.mark.parametrize(
    ("line", "error", "fragment"),
    [
        ("", DataFileError, "no templates"),
        ("{", DataFileError, "line 1 is not JSON"),
        ('{"wording": "x"}', InvalidExampleError, "line 1"),
        ('{"instruction": 3}', InvalidExampleError, "line 1"),
        ('{"labels": []}', InvalidExampleError, "line 1"),
        ("[]", DataFileError, "line 1"),
        ('{"labels": {"fresh": " good"}}', UsageError, "verbalizes"),
    ],
)
def test_what_is_wrong_with_templates_is_named(
    line: str, error: type[Exception], fragment: str, tmp_path: Path
) -> None:
    """Guards users of --templates against a traceback."""
    path = tmp_path / "templates.jsonl"
    path.write_text(line)
    with pytest.raises(error, match=fragment):
        load_templates(path, planted_template())
    with pytest.raises(DataFileError, match="there is no file"):
        load_templates(tmp_path / "nowhere", planted_template())
