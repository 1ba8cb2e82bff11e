"""Tests of targets that are free text: written answers, their scores, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envs.rewards import EngineScorer
from policies.mining import score_candidates
from selector.data.pool import Pool
from selector.errors import PromptTooLongError, ServerCapabilityError, TemplateError, UnknownLabelError, UsageError
from selector.evaluation.compare import QueryOutcome
from selector.inference.engine import InferenceEngine
from selector.inference.free_text import exact_match
from selector.prompting.template import PromptTemplate
from selector.testing import ToyLanguageModel, planted_pool, planted_template
from selector.types import Example, Selection

TEMPLATE = PromptTemplate("Q: {text}\nA:{label}", answer_tokens=8)
POOL = Pool(
    [
        Example("a", {"text": "colour of grass"}, "it is green"),
        Example("b", {"text": "colour of the sky"}, "it is blue"),
        Example("c", {"text": "taste of salt"}, "salty indeed"),
    ]
)
QUERY = Example("q", {"text": "colour of the sea"}, "it is blue")


def make(*, window: int = 200) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(context_length=window), TEMPLATE, POOL)


def test_an_answer_is_the_continuation_up_to_the_separator() -> None:
    """Guards against an answer that runs on into a demonstration of the model's own, or keeps its leading space."""
    asked: list[dict[str, object]] = []

    class Writer(ToyLanguageModel):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            asked.append({"prompts": prompts, **options})
            return [" it is blue "]

    engine = InferenceEngine(Writer(), TEMPLATE, POOL)
    (prediction,) = engine.predict([QUERY], [Selection.of(0, 1)])
    prompt = "Q: colour of grass\nA: it is green\n\nQ: colour of the sky\nA: it is blue\n\nQ: colour of the sea\nA:"
    assert asked == [{"prompts": [prompt], "max_new_tokens": 8, "stop": ("\n\n",)}]
    assert (prediction.label, dict(prediction.scores), prediction.probabilities) == ("it is blue", {}, {})
    assert engine.accuracy([QUERY], [Selection.of(0, 1)]) == 1.0


def test_the_score_of_a_target_is_the_mean_over_its_tokens() -> None:
    """Guards against sums, which would prefer demonstrations for queries with short targets, and against label sets."""
    engine = make()
    prompt = TEMPLATE.prompt([POOL[1]], QUERY)
    (score,) = ToyLanguageModel().logprobs([prompt], [" it is blue"])
    assert engine.gold_logprobs([QUERY], [Selection.of(1)]) == pytest.approx([score.logprob / 3])
    (mined,) = score_candidates(engine, [QUERY], [[0, 1, 2]])
    assert mined.candidates[0].uid == "b"


def test_case_and_white_space_do_not_make_a_text_wrong() -> None:
    """Guards data sets whose splits differ in case: every answer copied from a demonstration would be wrong."""
    assert exact_match("SELECT  a FROM b", "select a from b")
    assert not exact_match("select a, b", "select a")
    assert make().is_right("It is BLUE", "it is blue")
    labelled = InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool())
    assert not labelled.is_right("Fresh", "fresh")
    assert QueryOutcome("q", "it is blue", "It is  blue", free_text=True).correct
    assert not QueryOutcome("q", "fresh", "Fresh").correct


def test_the_reward_for_accuracy_is_exact_match() -> None:
    """Guards the environments against asking for label columns that do not exist."""

    class Copier(ToyLanguageModel):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            return [prompt.rsplit("A:", 2)[1].split("\n")[0] for prompt in prompts]  # the last demonstration's

    scorer = EngineScorer(InferenceEngine(Copier(), TEMPLATE, POOL), [QUERY], kind="accuracy")
    assert list(scorer.potentials([0, 0], [Selection.of(0, 1), Selection.of(1, 0)])) == [1.0, 0.0]


def test_demonstrations_leave_room_for_the_longest_answer() -> None:
    """Guards against answers cut by the window, and against a target that decides what is shown."""
    engine = make(window=24)
    with_target = engine.fit([QUERY], [Selection.of(0, 1, 2)])
    without = engine.fit([Example("q", QUERY.fields)], [Selection.of(0, 1, 2)])
    assert with_target == without == [Selection.of(2)]
    with pytest.raises(PromptTooLongError):
        make(window=10).fit([QUERY], [Selection.of(0)])


def test_a_target_longer_than_any_answer_fits_too() -> None:
    """Guards the window: such a target was scored behind a prompt that left room for an answer only."""
    lm = ToyLanguageModel(context_length=40)
    engine = InferenceEngine(lm, replace(TEMPLATE, answer_tokens=2), POOL)
    long = replace(QUERY, label=" ".join(["blue"] * 20))
    asked: list[int] = []

    def logprobs(prompts, completions):  # type: ignore[no-untyped-def]
        asked.extend(lm.count_tokens([a + b for a, b in zip(prompts, completions, strict=True)]))
        return ToyLanguageModel().logprobs(prompts, completions)

    lm.logprobs = logprobs  # type: ignore[method-assign]
    engine.gold_logprobs([long], [Selection.of(0, 1, 2)])
    assert 20 < max(asked) <= 40
    with pytest.raises(PromptTooLongError):
        engine.gold_logprobs([replace(QUERY, label=" ".join(["blue"] * 60))], [Selection.of(0)])


def test_what_needs_a_closed_set_is_refused() -> None:
    """Guards against scores over no label at all, which would be empty rows without a word."""
    engine = make()
    with pytest.raises(UsageError, match="free text"):
        engine.score([QUERY], [Selection.of(0)])
    with pytest.raises(UsageError, match="free text"):
        InferenceEngine(ToyLanguageModel(), TEMPLATE, POOL, scoring="channel")
    with pytest.raises(UnknownLabelError):
        engine.gold_logprobs([Example("q", QUERY.fields)], [Selection.of(0)])
    with pytest.raises(TemplateError, match="one of the two"):
        PromptTemplate("{text}:{label}", {"a": " a"}, answer_tokens=4)


def test_a_fingerprint_tells_free_text_from_labels() -> None:
    """Guards artifacts against use with a template whose answers are of another length."""
    longer = PromptTemplate("Q: {text}\nA:{label}", answer_tokens=9)
    assert longer.fingerprint != TEMPLATE.fingerprint


def test_a_model_of_bounds_writes_but_does_not_score() -> None:
    """Guards rewards against the bounds that a server without echo gives; written answers need no scores."""

    class Bounds(ToyLanguageModel):
        exact = False

    engine = InferenceEngine(Bounds(), TEMPLATE, POOL)
    assert len(engine.predict([QUERY], [Selection.of(0)])) == 1
    with pytest.raises(ServerCapabilityError, match="bounds"):
        engine.gold_logprobs([QUERY], [Selection.of(0)])
