"""Tests of direct answers, chains of thought, votes and Auto-CoT over scripted generations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import PromptTooLongError, TooFewExamplesError, UnknownNameError, UsageError
from selector.prompting.reasoning.answers import CHOICE, NUMBER
from selector.prompting.reasoning.auto_cot import AutoCoTConfig, build_auto_cot, refusal
from selector.prompting.reasoning.chain import ChainOfThought, ReasoningConfig, ZeroShotChainOfThought
from selector.prompting.reasoning.named import METHODS, ReasoningPlan, answer_all, build_reasoner
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.self_consistency import SamplingConfig, SelfConsistency, majority_vote
from selector.prompting.reasoning.shown import fixed_demonstrations
from selector.prompting.reasoning.trace import summarise
from selector.prompting.reasoning.wording import TRIGGERS
from selector.testing import ScriptedLanguageModel, ToyEncoder, ToyLanguageModel

THEREFORE = "Therefore, the answer (arabic numerals) is"


def test_a_chain_of_thought_prompt_is_as_published(scripted: Any, problems: list[Problem], asked: Problem) -> None:
    """Guards the form: question, rationale, stated answer, then the query up to its answer and no further."""
    lm = scripted({"\nA:": " 10 + 20 = 30 figs. The answer is 30.\n\nQ: Bob has 5."})
    trace = ChainOfThought(lm, fixed_demonstrations(problems[:1]), kind=NUMBER).answer(asked)
    (prompt,) = lm.prompts
    assert prompt == (
        "Q: Tim has 2 pears and buys 3. How many has he?\nA: 2 + 3 = 5 pears. The answer is 5.\n\n"
        "Q: Ann has 10 figs and picks 20. How many has she?\nA:"
    )
    assert (trace.answer, trace.right, trace.malformed, len(trace.stages)) == ("30", True, 0, 1)
    assert trace.stages[0].generation == " 10 + 20 = 30 figs. The answer is 30."


def test_an_unannounced_answer_is_taken_and_counted(scripted: Any, asked: Problem) -> None:
    """Guards the stated fallback: what stands last is the answer, and the trace says that it is a guess."""
    trace = ChainOfThought(scripted({"A:": " 10 and 20 make 30"}), fixed_demonstrations(()), kind=NUMBER).answer(asked)
    assert (trace.answer, trace.malformed, len(trace.stages)) == ("30", 1, 1)
    assert "stands last is taken" in trace.text()


def test_a_rationale_without_answer_is_asked_again(scripted: Any, asked: Problem) -> None:
    """Guards a malformed generation: it is counted, shown, and the answer asked for behind it; never a crash."""
    lm = scripted({"A:": " Ann is fond of figs", THEREFORE: " 30."})
    trace = ChainOfThought(lm, fixed_demonstrations(()), kind=NUMBER).answer(asked)
    assert (trace.answer, trace.malformed, [stage.name for stage in trace.stages]) == ("30", 1, ["rationale", "answer"])
    assert trace.stages[1].prompt.endswith(f"Ann is fond of figs\n{THEREFORE}")
    lost = ChainOfThought(scripted({"A:": "", THEREFORE: " many"}), fixed_demonstrations(()), kind=NUMBER).answer(asked)
    assert (lost.answer, lost.right, lost.malformed) == (None, False, 2)
    assert "stays unanswered" in lost.text()


def test_zero_shot_reasoning_has_two_stages(scripted: Any, asked: Problem) -> None:
    """Guards Kojima's two prompts, and an empty rationale, which must not end the run."""
    lm = scripted({"step by step.": " Add 10 and 20.", THEREFORE: " 30"})
    trace = ZeroShotChainOfThought(lm, kind=NUMBER).answer(asked)
    assert (trace.answer, trace.malformed) == ("30", 0)
    assert trace.stages[1].prompt == f"{trace.stages[0].prompt} Add 10 and 20.\n{THEREFORE}"
    empty = ZeroShotChainOfThought(scripted({"step by step.": "", THEREFORE: " 1"}), kind=NUMBER).answer(asked)
    assert (empty.answer, empty.right, empty.malformed) == ("1", False, 1)


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        (":\nA: 30.", NUMBER, "30"),
        ("\n\n30", NUMBER, "30"),
        (":\n\nA: (C) 30", CHOICE, "C"),
        (":\nQ: 30", NUMBER, None),
        (" 30\n31", NUMBER, "30"),
    ],
)
def test_an_answer_on_the_next_line_is_read(
    scripted: Any, asked: Problem, text: str, kind: str, wanted: str | None
) -> None:
    """Guards small models, which write a colon and the answer below it: they were counted as giving none."""
    lm = scripted({"step by step.": " Add 10 and 20.", TRIGGERS[kind]: text})
    trace = ZeroShotChainOfThought(lm, kind=kind).answer(replace(asked, answer=None))
    assert (trace.answer, trace.malformed) == (wanted, wanted is None)


def test_demonstrations_are_dropped_whole_where_the_window_is_short(problems: list[Problem], asked: Problem) -> None:
    """Guards small windows: the query stays whole and next to the last demonstration, and too small a one is named."""
    lm = ScriptedLanguageModel(lambda prompt, seed: " The answer is 1.", context_length=70)
    config = ReasoningConfig(rationale_tokens=10)
    chain = ChainOfThought(lm, fixed_demonstrations(problems), kind=NUMBER, config=config)
    prompt = chain.prompt(asked)
    assert 1 < prompt.count("Q: ") < 1 + len(problems)
    assert problems[-1].question in prompt
    assert prompt.endswith(f"Q: {asked.question}\nA:")
    assert lm.count_tokens([prompt])[0] + 10 < 70
    with pytest.raises(PromptTooLongError, match="query-0"):
        ChainOfThought(lm, fixed_demonstrations(()), kind=NUMBER).answer(asked)


def test_one_question_that_is_too_long_costs_no_other(problems: list[Problem], asked: Problem) -> None:
    """Guards the traces of all other questions, which were lost with one that did not fit."""
    lm = ScriptedLanguageModel(lambda *_: " The answer is 30.", context_length=120)
    plan = ReasoningPlan("cot", NUMBER, shots=1, writing=ReasoningConfig(rationale_tokens=20))
    reasoner = build_reasoner(plan, lm, problems, encoder=ToyEncoder).reasoner
    long = replace(asked, uid="long", question="Why? " * 200)
    before, lost, behind = answer_all(reasoner, [asked, long, asked])
    assert before == behind
    assert before.right
    assert (lost.uid, lost.method, lost.answer, lost.right, lost.malformed) == ("long", "cot", None, False, 1)
    assert "does not fit" in lost.text()


def test_spellings_of_one_text_vote_together() -> None:
    """Guards texts: "paris" and "Paris" split the vote and lost to an answer with fewer votes."""
    vote = majority_vote(["Rome", "paris", "Paris", "Rome", "Paris"])
    assert (vote.answer, vote.tied) == ("Paris", False)
    assert vote.counts == {"Rome": 2, "Paris": 3}


@given(st.lists(st.sampled_from(["1", "2", "3", None]), max_size=9))
def test_laws_of_a_vote(answers: list[str | None]) -> None:
    """Guards majority voting: most votes win, None does not vote, a tie goes to the first and is stated."""
    vote = majority_vote(answers)
    assert sum(vote.counts.values()) == sum(answer is not None for answer in answers)
    if vote.answer is None:
        assert not any(answers)
        return
    most = max(vote.counts.values())
    leading = {answer for answer, count in vote.counts.items() if count == most}
    assert vote.tied == (len(leading) > 1)
    assert vote.answer == next(answer for answer in answers if answer in leading)


def votes(*texts: str) -> ScriptedLanguageModel:
    """Writes one text for each seed from 7 on; greedily, a stage of its own."""
    return ScriptedLanguageModel(lambda prompt, seed: " 8" if prompt.endswith(THEREFORE) else texts[seed - 7])


@pytest.mark.parametrize(
    ("texts", "answer", "remark", "malformed"),
    [
        ((" The answer is 30.", " The answer is 3.", " The answer is 30."), "30", "votes 30: 2, 3: 1", 0),
        ((" The answer is 3.", " The answer is 30."), "3", "votes 3: 1, 30: 1; a tie, the first of them is taken", 0),
        ((" figs", " The answer is 30."), "30", "votes 30: 1", 1),
        ((" figs", " more figs"), "8", "no sample voted; the answer was asked for behind the first", 2),
    ],
)
def test_self_consistency_votes_over_seeds(
    texts: tuple[str, ...], answer: str, remark: str, malformed: int, asked: Problem
) -> None:
    """Guards the vote, its stated ties, and samples without an answer: they are shown, counted, and do not vote."""
    chain = ChainOfThought(votes(*texts), fixed_demonstrations(()), kind=NUMBER)
    trace = SelfConsistency(chain, config=SamplingConfig(samples=len(texts), seed=7)).answer(asked)
    assert (trace.answer, trace.remark, trace.malformed) == (answer, remark, malformed)
    assert [stage.generation for stage in trace.stages[: len(texts)]] == list(texts)


def test_greedy_samples_are_refused() -> None:
    """Guards against a vote among equal texts."""
    with pytest.raises(UsageError, match="temperature"):
        SamplingConfig(temperature=0)


@pytest.mark.parametrize(
    ("rationale", "answer", "fragment"),
    [
        ("10 + 20 = 30.", "30", ""),
        ("10 + 20 = 30", "30", "full stop"),
        ("1.\n2.\n3.\n4.\n5.\n30.", "30", "6 steps"),
        ("10 + 20 = 30. So there are many.", "30", "does not hold the answer 30"),
        ("She has 300.", "30", "does not hold the answer 30"),
        ("She has $30.", "30", ""),
        ("10 + 20 = 30.", None, "no answer"),
        ("", "30", "full stop"),
    ],
)
def test_the_published_filters(rationale: str, answer: str | None, fragment: str) -> None:
    """Guards the filters of Auto-CoT: length, a full stop, and the answer in the last sentence of arithmetic."""
    why = refusal(rationale, answer, kind=NUMBER, config=AutoCoTConfig())
    assert (why == "") == (fragment == "")
    assert fragment in why


def test_auto_cot_takes_the_nearest_question_that_passes(problems: list[Problem]) -> None:
    """Guards clusters, order of trying, the model's own answers, and that gold is not looked at."""

    def reply(prompt: str, seed: int) -> str:
        del seed
        if "pears" in prompt:
            return " 77" if prompt.endswith(THEREFORE) else " It comes to 77."
        return " 5" if prompt.endswith(THEREFORE) else " no end"

    figs = [Problem(f"fig-{number}", f"Did {number} figs fall down here?", "yes") for number in range(4)]
    lm = ScriptedLanguageModel(reply)
    config = AutoCoTConfig(demonstrations=2, tries=3)
    made = build_auto_cot(lm, [*problems, *figs], ToyEncoder(), kind=NUMBER, config=config)
    assert [(one.answer, one.rationale) for one in made.demonstrations] == [("77", "It comes to 77.")]
    failed, kept = made.clusters
    assert (failed.size, kept.size) == (4, 8)
    assert len(failed.attempts) == 3
    assert all("full stop" in attempt.refused for attempt in failed.attempts)
    assert kept.attempts[-1].refused == ""
    assert (made.written, made.refused) == (len(failed.attempts) + len(kept.attempts), made.written - 1)
    assert made == build_auto_cot(lm, [*problems, *figs], ToyEncoder(), kind=NUMBER, config=config)
    with pytest.raises(TooFewExamplesError, match="distinct questions"):
        build_auto_cot(lm, problems[:1], ToyEncoder(), kind=NUMBER, config=config)


def test_long_questions_are_passed_over_without_a_generation(problems: list[Problem]) -> None:
    """Guards the cost: a question over the limit must not be reasoned about."""
    lm = ScriptedLanguageModel(lambda prompt, seed: " It is 1.")
    made = build_auto_cot(
        lm, problems, ToyEncoder(), kind=NUMBER, config=AutoCoTConfig(demonstrations=1, question_words=5)
    )
    assert (made.demonstrations, lm.prompts, len(made.clusters[0].attempts)) == ((), [], len(problems))
    assert (made.written, made.refused) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_deterministic_and_survives_a_model_that_babbles(
    method: str, problems: list[Problem], asked: Problem
) -> None:
    """Guards all methods against what a small model writes: every trace is whole, every defect counted."""
    writing = ReasoningConfig(rationale_tokens=12, part_tokens=8, answer_tokens=4)
    lax = AutoCoTConfig(steps=50)
    plan = ReasoningPlan(method, NUMBER, shots=2, writing=writing, sampling=SamplingConfig(samples=2), auto_cot=lax)

    def traces(lm: ToyLanguageModel) -> Any:
        built = build_reasoner(plan, lm, problems, encoder=ToyEncoder)
        return answer_all(built.reasoner, [asked, problems[0]])

    # An induction head repeats full stops of the demonstrations, so Auto-CoT needs a model that ends a sentence.
    def model() -> ToyLanguageModel:
        tidy = ScriptedLanguageModel(lambda prompt, seed: " 7" if prompt.endswith("is") else " It is 7.")
        return tidy if method == "auto-cot" else ToyLanguageModel(context_length=4096)

    found = traces(model())
    assert found == traces(model())
    assert [trace.uid for trace in found] == ["query-0", "sum-2"]
    assert all(trace.method == method and trace.stages for trace in found)
    summary = summarise(found)
    assert summary.problems == 2
    assert summary.generations >= 2
    assert all(trace.malformed or trace.answer is not None for trace in found)
    assert found[0].as_json()["malformed"] == found[0].malformed


def test_an_unknown_method_and_auto_cot_without_demonstrations_are_named(problems: list[Problem]) -> None:
    """Guards --method, and an Auto-CoT whose every rationale was refused: it must not become zero-shot unseen."""
    lm = ScriptedLanguageModel(lambda prompt, seed: " no end")
    with pytest.raises(UnknownNameError, match="tree-of-thought"):
        build_reasoner(ReasoningPlan("tree-of-thought", NUMBER), lm, problems, encoder=ToyEncoder)
    with pytest.raises(TooFewExamplesError, match=r"filters \(\d+ times no answer was read"):
        build_reasoner(ReasoningPlan("auto-cot", NUMBER, shots=2), lm, problems, encoder=ToyEncoder)
