"""Tests of the laws of language models: each is broken by a fake that breaks no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selector.errors import LawBrokenError, ServerCapabilityError
from selector.lm.base import CompletionScore, Usage
from selector.lm.cache import CachedLanguageModel, ScoreStore
from selector.testing import LANGUAGE_MODEL_LAWS, LanguageModelTrial, ToyLanguageModel, check_language_model


class Rescored(ToyLanguageModel):
    """Each fake spoils one thing."""

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> Any:
        scores = super().logprobs(prompts, completions)
        return [
            self.spoilt(place, prompt, completion, score)
            for place, (prompt, completion, score) in enumerate(zip(prompts, completions, scores, strict=True))
        ]

    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        del place, prompt, completion
        return score


class NamesItselfAnew(ToyLanguageModel):
    @property
    def fingerprint(self) -> str:
        return f"toy after {self.usage.calls} calls"


class CountsNothing(ToyLanguageModel):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return super().count_tokens(texts) or [0]


class GivesATuple(ToyLanguageModel):
    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> Any:
        scores = super().logprobs(prompts, completions)
        return tuple(scores) if scores else []


class Impossible(Rescored):
    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        return score._replace(logprob=float("-inf")) if completion == " bad" else score


class Tempered(Rescored):
    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        return score._replace(logprob=score.logprob / 10)


class Averaged(Rescored):
    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        return score._replace(logprob=score.logprob / score.tokens)


class Padded(Rescored):
    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        return score._replace(logprob=score.logprob - 0.5 * (place >= 2 and score.tokens == 1))


class NothingBeforeTheFirst(Rescored):
    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        return score if prompt else score._replace(logprob=float("nan"))


class TakesEmptyCompletions(ToyLanguageModel):
    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        return [CompletionScore(0.0, 0, 1)] if list(completions) == [""] else super().logprobs(prompts, completions)


class CountsNoCalls(ToyLanguageModel):
    @property
    def usage(self) -> Usage:
        return replace(super().usage, calls=0)


class NoWindow(ToyLanguageModel):
    @property
    def context_length(self) -> int:
        return 0


class GoesOn(ToyLanguageModel):
    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        return super().generate(prompts, **(options | {"stop": ()}))


class Unseeded(ToyLanguageModel):
    calls = 0

    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        self.calls += 1
        return super().generate(prompts, **(options | {"seed": self.calls}))


BROKEN: dict[str, Callable[[], ToyLanguageModel]] = {
    "the_fingerprint_is_stable": NamesItselfAnew,
    "tokens_are_counted": CountsNothing,
    "one_score_for_each_pair": GivesATuple,
    "scores_are_log_probabilities": Impossible,
    "probabilities_sum_to_at_most_one": Tempered,
    "scores_add_up": Averaged,
    "a_score_does_not_depend_on_its_batch": Padded,
    "an_empty_prompt_can_be_scored": NothingBeforeTheFirst,
    "an_empty_completion_is_refused": TakesEmptyCompletions,
    "usage_counts_what_was_asked": CountsNoCalls,
    "the_window_is_told": NoWindow,
    "generation_keeps_its_limits": GoesOn,
    "generation_is_seeded": Unseeded,
}


def broken_laws(make: Callable[[], Any]) -> set[str]:
    found = set()
    for law in LANGUAGE_MODEL_LAWS:
        try:
            law(LanguageModelTrial(make))
        except LawBrokenError as error:
            found.add(error.law if error.law == law.__name__ else f"{law.__name__}, named {error.law}")
    return found


def test_every_law_has_a_fake_that_breaks_it() -> None:
    """Guards the list of fakes against a law that is added without one, and the toy model itself."""
    assert list(BROKEN) == [law.__name__ for law in LANGUAGE_MODEL_LAWS]
    assert all(law.__doc__ for law in LANGUAGE_MODEL_LAWS)
    assert check_language_model(ToyLanguageModel) == check_language_model(ToyLanguageModel()) == {}


@pytest.mark.parametrize("law", BROKEN)
def test_a_law_catches_what_breaks_it_and_nothing_else(law: str) -> None:
    """Guards against laws that cannot fail, and against failures that name the wrong law."""
    assert broken_laws(BROKEN[law]) == {law}
    with pytest.raises(LawBrokenError, match=f"the law '{law}' is broken: .*; expected .*"):
        check_language_model(BROKEN[law])


class Loss(Rescored):
    def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
        return score._replace(logprob=-score.logprob)


class CountsFew(ToyLanguageModel):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [min(count, 90) for count in super().count_tokens(texts)]


class Narrow(ToyLanguageModel):
    """Counts less than it scores, so that the engine lets too much through."""

    def __init__(self) -> None:
        super().__init__(context_length=40)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [(count + 1) // 2 for count in super().count_tokens(texts)]


class RepeatsThePrompt(ToyLanguageModel):
    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        texts = super().generate(prompts, **options)
        return [prompt + text for prompt, text in zip(prompts, texts, strict=True)]


class WritesForNobody(ToyLanguageModel):
    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        return super().generate(prompts, **options) or [""]


class LosesTexts(ToyLanguageModel):
    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        return super().generate(prompts, **options)[1:]


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (Loss, "scores_are_log_probabilities"),
        (CountsFew, "the_window_is_told"),
        (Narrow, "the_window_is_told"),
        (RepeatsThePrompt, "generation_keeps_its_limits"),
        (WritesForNobody, "generation_keeps_its_limits"),
        (LosesTexts, "generation_keeps_its_limits"),
    ],
)
def test_other_ways_to_break_a_law(make: Callable[[], ToyLanguageModel], law: str) -> None:
    """Guards the halves of laws: losses for log-probabilities, counts that are too low, texts that are too long."""
    assert law in broken_laws(make)


def test_what_a_model_cannot_do_is_passed_over_with_the_reason() -> None:
    """Guards servers whose scores are bounds or need a prompt, long windows, and tokenizers without parts."""

    class Bounds(ToyLanguageModel):
        exact = False

        def __init__(self) -> None:
            super().__init__(context_length=10**9)

        def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
            if "" in prompts:
                raise ServerCapabilityError("no prompt", expected="one", remedy="Give one.")
            return super().logprobs(prompts, completions)

    passed_over = check_language_model(Bounds)
    assert set(passed_over) == {
        "probabilities_sum_to_at_most_one",
        "scores_add_up",
        "an_empty_prompt_can_be_scored",
        "the_window_is_told",
    }
    assert set(check_language_model(ToyLanguageModel, completions=[" good"])) == {
        "probabilities_sum_to_at_most_one",
        "scores_add_up",
    }


def test_a_tolerance_is_for_rounding() -> None:
    """Guards against low precision that cannot be checked, and against a tolerance that excuses mistakes."""

    class Rounds(Rescored):
        def spoilt(self, place: int, prompt: str, completion: str, score: CompletionScore) -> CompletionScore:
            return score._replace(logprob=score.logprob - 0.01 * (place % 3))

    assert broken_laws(Rounds) >= {"a_score_does_not_depend_on_its_batch"}
    assert check_language_model(Rounds, tolerance=0.1) == {}
    with pytest.raises(LawBrokenError):
        check_language_model(Padded, tolerance=0.1)


def test_a_model_behind_the_score_store_keeps_the_laws(tmp_path: Path) -> None:
    """Guards the store, cold and warm, against answers that differ from the model's, or slip from pair to pair."""

    def stored() -> CachedLanguageModel:
        return CachedLanguageModel(ToyLanguageModel(), ScoreStore(tmp_path / "scores.sqlite"))

    for _ in range(2):
        assert check_language_model(stored, tolerance=0.0) == {}
    assert np.isfinite([score.logprob for score in LanguageModelTrial(stored).scores]).all()
