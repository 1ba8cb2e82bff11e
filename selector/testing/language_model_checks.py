"""The laws of every language model, each a function by its name, and `check_language_model`, which checks them all.

Nothing here knows tokenisers or weights; `docs/extending.md` says how to write a language model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, TypeAlias, cast

from selector.data.pool import Pool
from selector.errors import LawBrokenError, PromptTooLongError, ServerCapabilityError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore, LanguageModel, gives_exact_scores
from selector.testing.laws import Law, check_laws
from selector.testing.planted import planted_pool, planted_template
from selector.types import Example, Selection

LanguageModelFactory: TypeAlias = Callable[[], LanguageModel]
PROMPTS: Final = (
    "Review: the plot is dull\nSentiment:",
    "Review: a warm and funny cast\nSentiment: good\n\nReview: the music is hollow\nSentiment:",
    "the plot is",
)
COMPLETIONS: Final = (" good", " bad", " fine", " rather unconvincing", " fine plot")
BOUNDS: Final = "the model says that some of its scores are bounds"
FEW, MANY = 1, 6  # tokens to generate
FILLED: Final = 300_000  # tokens; a longer window is believed


class LanguageModelTrial:
    """A language model under examination.

    Args:
        make: A function that makes the language model, such as its class; or a language model.
        tolerance: By how many nats a score may differ between batches.
        prompts: What completions are scored behind; not empty.
        completions: What is scored; each begins with a space.
    """

    def __init__(
        self,
        make: LanguageModelFactory | LanguageModel,
        *,
        tolerance: float = 1e-3,
        prompts: Sequence[str] = PROMPTS,
        completions: Sequence[str] = COMPLETIONS,
    ) -> None:
        given = isinstance(make, LanguageModel) and not isinstance(make, type)
        self.build = None if given else cast(LanguageModelFactory, make)
        self.lm = cast(LanguageModel, make) if self.build is None else self.build()
        self.tolerance = tolerance
        pairs = [(prompt, completion) for prompt in prompts for completion in completions]
        self.prompts = [prompt for prompt, _ in pairs]
        self.completions = [completion for _, completion in pairs]

    @cached_property
    def scores(self) -> list[CompletionScore]:
        """Those of all pairs."""
        return self.lm.logprobs(self.prompts, self.completions)

    @cached_property
    def extra_tokens(self) -> int:
        """How many tokens the model counts for every text beyond its words."""
        one, two = self.lm.count_tokens(["plot", "plot plot"])
        return max(0, 2 * one - two)

    def pair(self, place: int) -> str:
        """Shows a pair.

        Args:
            place: Which.

        Returns:
            Prompt and completion as Python writes them.
        """
        return f"{self.prompts[place]!r} and {self.completions[place]!r}"


def the_fingerprint_is_stable(trial: LanguageModelTrial) -> str | None:
    """A fingerprint is a text that scoring does not change, and the same for a model made alike."""
    before = trial.lm.fingerprint
    trial.lm.logprobs(trial.prompts[:1], trial.completions[:1])
    others = [trial.lm.fingerprint, *([trial.build().fingerprint] if trial.build is not None else [])]
    if not isinstance(before, str) or not before or any(other != before for other in others):
        raise LawBrokenError(
            "the_fingerprint_is_stable",
            found=f"{before!r} and then {others!r}",
            expected="a text that is not empty, always the same",
            remedy="Hash weights, revision, dtype and whatever else changes a score, once; nothing of this process.",
        )
    return None


def tokens_are_counted(trial: LanguageModelTrial) -> str | None:
    """One count for each text, more for longer ones; none for no text."""
    texts = ["plot", "plot and", "plot and cast and music", "plot and cast and music " * 20]
    counts = trial.lm.count_tokens(texts)
    whole = len(counts) == len(texts) and all(isinstance(count, int) and count > 0 for count in counts)
    if not whole or sorted(set(counts)) != list(counts) or trial.lm.count_tokens([]) != []:
        raise LawBrokenError(
            "tokens_are_counted",
            found=f"{counts!r} for four texts, each longer than the one before",
            expected="four whole numbers that rise, and [] for no text",
            remedy="Count with the tokenizer that scores.",
        )
    return None


def one_score_for_each_pair(trial: LanguageModelTrial) -> str | None:
    """A list holds one CompletionScore for each pair, in their order, and none for no pair."""
    scores = trial.scores
    whole = isinstance(scores, list) and all(isinstance(score, CompletionScore) for score in scores)
    if not whole or len(scores) != len(trial.prompts) or trial.lm.logprobs([], []) != []:
        raise LawBrokenError(
            "one_score_for_each_pair",
            found=f"{len(trial.prompts)} pairs gave {type(scores).__name__} {str(scores)[:80]}",
            expected="a list with one CompletionScore for each, and [] for no pair",
            remedy="Return early where there is no pair.",
        )
    return None


def scores_are_log_probabilities(trial: LanguageModelTrial) -> str | None:
    """Nats: finite, and no more than 0; a completion has tokens, no more than its text."""
    counted = trial.lm.count_tokens([p + c for p, c in zip(trial.prompts, trial.completions, strict=True)])
    for place, (score, total) in enumerate(zip(trial.scores, counted, strict=True)):
        fits = score.tokens >= 1 and score.total_tokens >= score.tokens
        # A prompt that a server was asked for without its completion, or a start token, may be left out of one count.
        fits = fits and (not gives_exact_scores(trial.lm) or abs(score.total_tokens - total) <= 2)
        if not math.isfinite(score.logprob) or score.logprob > 0 or not fits:
            raise LawBrokenError(
                "scores_are_log_probabilities",
                found=f"{score} for {trial.pair(place)}, {total} tokens by count_tokens",
                expected="a finite logprob of 0 or less, tokens of 1 or more, total_tokens as they are counted",
                remedy="Sum the natural logarithms of the probabilities of the completion's tokens alone.",
            )
    return None


def probabilities_sum_to_at_most_one(trial: LanguageModelTrial) -> str | None:
    """Different next tokens behind one prompt share one probability between them."""
    if not gives_exact_scores(trial.lm):
        return BOUNDS
    shares: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for prompt, completion, score in zip(trial.prompts, trial.completions, trial.scores, strict=True):
        if score.tokens == 1:
            shares[prompt][completion] = math.exp(score.logprob)
    if max(map(len, shares.values()), default=0) < 2:
        return "no two completions are single tokens"
    for prompt, own in shares.items():
        if sum(own.values()) > 1 + trial.tolerance:
            raise LawBrokenError(
                "probabilities_sum_to_at_most_one",
                found=f"probabilities {own} behind {prompt!r}",
                expected="a sum of 1 at most",
                remedy="Take the softmax over the whole vocabulary, and no mean where a sum is meant.",
            )
    return None


def scores_add_up(trial: LanguageModelTrial) -> str | None:
    """A completion in two parts is worth its first part and, behind that, its second, where tokens part there too."""
    if not gives_exact_scores(trial.lm):
        return BOUNDS
    parted = 0
    for place, completion in enumerate(trial.completions):
        first, space, second = completion.rpartition(" ")
        if not first:
            continue
        prompt = trial.prompts[place]
        parts = trial.lm.logprobs([prompt, prompt + first], [first, space + second])
        if sum(part.tokens for part in parts) != trial.scores[place].tokens:
            continue
        parted += 1
        total = sum(part.logprob for part in parts)
        if abs(total - trial.scores[place].logprob) > trial.tolerance:
            raise LawBrokenError(
                "scores_add_up",
                found=f"{trial.scores[place].logprob:.6f} nats for {trial.pair(place)}, {total:.6f} for its parts",
                expected=f"the same, to {trial.tolerance}",
                remedy="Sum over the tokens of the full text, from the first that reaches beyond the prompt on.",
            )
    return None if parted else "the tokenizer parts no completion at a space"


def a_score_does_not_depend_on_its_batch(trial: LanguageModelTrial) -> str | None:
    """Pairs scored again, one by one, in another order or twice, score what they scored together."""
    backwards = trial.lm.logprobs(trial.prompts[::-1], trial.completions[::-1])[::-1]
    twice = trial.lm.logprobs(trial.prompts * 2, trial.completions * 2)
    size = len(trial.prompts)
    ways = {
        "again": trial.lm.logprobs(trial.prompts, trial.completions),
        "alone": [trial.lm.logprobs([p], [c])[0] for p, c in zip(trial.prompts, trial.completions, strict=True)],
        "in another order": backwards,
        "first of two": twice[:size],
        "second of two": twice[size:],
    }
    for way, found in ways.items():
        for place, (one, other) in enumerate(zip(trial.scores, found, strict=True)):
            if abs(one.logprob - other.logprob) > trial.tolerance or one[1:] != other[1:]:
                raise LawBrokenError(
                    "a_score_does_not_depend_on_its_batch",
                    found=f"{one} and, {way}, {other} for {trial.pair(place)}",
                    expected=f"the same, to {trial.tolerance} nats",
                    remedy="Mask padding, number positions from the first real token, and put answers back in order.",
                )
    return None


def an_empty_prompt_can_be_scored(trial: LanguageModelTrial) -> str | None:
    """With nothing before it a completion is conditioned on the start of a text, if the model can do that."""
    try:
        [score] = trial.lm.logprobs([""], [trial.completions[0].strip()])
    except ServerCapabilityError as error:
        return str(error)
    if not math.isfinite(score.logprob) or score.logprob > 0 or score.tokens < 1:
        raise LawBrokenError(
            "an_empty_prompt_can_be_scored",
            found=f"{score} behind an empty prompt",
            expected="a finite logprob of 0 or less for one token or more",
            remedy="Put the start token before it, or raise ServerCapabilityError.",
        )
    return None


def an_empty_completion_is_refused(trial: LanguageModelTrial) -> str | None:
    """A completion without text would score 0, and win."""
    try:
        found = trial.lm.logprobs(trial.prompts[:1], [""])
    except UsageError:
        return None
    raise LawBrokenError(
        "an_empty_completion_is_refused",
        found=f"{found} for an empty completion",
        expected="UsageError",
        remedy="Raise selector.errors.UsageError where a completion is empty.",
    )


def usage_counts_what_was_asked(trial: LanguageModelTrial) -> str | None:
    """Every pair is a call, and its tokens are those that scoring it alone would take."""
    before = trial.lm.usage
    scores = trial.lm.logprobs(trial.prompts, trial.completions)
    spent = trial.lm.usage - before
    tokens = sum(score.total_tokens for score in scores)
    if (spent.calls, spent.tokens) != (len(scores), tokens) or spent.tokens_computed < 0:
        raise LawBrokenError(
            "usage_counts_what_was_asked",
            found=f"{spent} for {len(scores)} pairs of {tokens} tokens",
            expected=f"calls={len(scores)}, tokens={tokens}",
            remedy="Count in logprobs: self._usage = self._usage.also(calls=..., tokens=..., tokens_computed=...).",
        )
    return None


def the_window_is_told(trial: LanguageModelTrial) -> str | None:
    """What does not fit into the window is named by the engine, and what it leaves fits."""
    window = trial.lm.context_length
    if not isinstance(window, int) or window < 1:
        raise _window(f"a context_length of {window!r}")
    if window > FILLED:
        return f"a window of {window} tokens is too long to be filled here"
    members = planted_pool(8)
    engine = InferenceEngine(trial.lm, planted_template(), Pool(members))
    words = ["plot"] * (window + 1)
    try:
        [kept] = engine.fit([Example("long", {"text": " ".join(words)})], [Selection.of(0)])
    except PromptTooLongError:
        pass
    else:
        raise _window(f"{len(words)} words that fit, with {kept.indices} before them, into a window of {window}")
    [kept] = engine.fit([Example("short", {"text": "plot"})], [Selection.of(*range(8))])
    prompt = engine.template.prompt([engine.pool[index] for index in kept.indices], Example("short", {"text": "plot"}))
    [score] = trial.lm.logprobs([prompt], [" fresh"])
    if score.total_tokens > window:
        raise _window(
            f"a prompt of {score.total_tokens} tokens, all that the engine let through, and a window of {window}"
        )
    return None


def generation_keeps_its_limits(trial: LanguageModelTrial) -> str | None:
    """One continuation for each prompt, no longer than allowed, cut before a stop text, none for no prompt."""
    prompts = list(dict.fromkeys(trial.prompts))
    long = trial.lm.generate(prompts, max_new_tokens=MANY)
    for limit, texts in ((MANY, long), (FEW, trial.lm.generate(prompts, max_new_tokens=FEW))):
        if len(texts) != len(prompts) or not all(isinstance(text, str) for text in texts):
            raise _generation(f"{texts!r} for {len(prompts)} prompts")
        for text, count in zip(texts, trial.lm.count_tokens([text or " plot" for text in texts]), strict=True):
            # Bytes that are no character are replaced by one that has tokens of its own.
            if text and "\ufffd" not in text and count - trial.extra_tokens > limit:
                raise _generation(f"{text!r}, {count} tokens, where {limit} were allowed")
    if trial.lm.generate([], max_new_tokens=FEW) != []:
        raise _generation("a text for no prompt")
    for prompt, text in zip(prompts, long, strict=True):
        stop = text[len(text) // 2 :][:2]
        if not stop or "\ufffd" in text:
            continue
        [cut] = trial.lm.generate([prompt], max_new_tokens=MANY, stop=[stop])
        if cut != text[: text.index(stop)]:
            raise _generation(f"{cut!r} where {text!r} should end before {stop!r}")
    return None


def generation_is_seeded(trial: LanguageModelTrial) -> str | None:
    """The same seed writes the same text, greedily or not."""
    prompts = list(dict.fromkeys(trial.prompts))
    for temperature in (0.0, 1.0):
        first, second = (
            trial.lm.generate(prompts, max_new_tokens=MANY, temperature=temperature, seed=3) for _ in range(2)
        )
        if first != second:
            raise LawBrokenError(
                "generation_is_seeded",
                found=f"{first!r} and then {second!r} at temperature {temperature}",
                expected="the same text for the same seed",
                remedy="Seed a generator for every call; leave the global one alone.",
            )
    return None


LANGUAGE_MODEL_LAWS: Final[tuple[Law[LanguageModelTrial], ...]] = (
    the_fingerprint_is_stable,
    tokens_are_counted,
    one_score_for_each_pair,
    scores_are_log_probabilities,
    probabilities_sum_to_at_most_one,
    scores_add_up,
    a_score_does_not_depend_on_its_batch,
    an_empty_prompt_can_be_scored,
    an_empty_completion_is_refused,
    usage_counts_what_was_asked,
    the_window_is_told,
    generation_keeps_its_limits,
    generation_is_seeded,
)


def check_language_model(
    make: LanguageModelFactory | LanguageModel,
    *,
    tolerance: float = 1e-3,
    prompts: Sequence[str] = PROMPTS,
    completions: Sequence[str] = COMPLETIONS,
) -> dict[str, str]:
    """Checks that a language model keeps the laws of all language models.

    Args:
        make: A function that makes the language model, such as its class; or a language model.
        tolerance: By how many nats a score may differ between batches; weights in bfloat16 need about 0.5.
        prompts: What completions are scored behind; not empty.
        completions: What is scored; each begins with a space, and some should be of several words.

    Returns:
        Name to reason of every law that could not be checked.

    Raises:
        LawBrokenError: When it breaks one; the message says which, and how to put it right.
    """
    trial = LanguageModelTrial(make, tolerance=tolerance, prompts=prompts, completions=completions)
    return check_laws(LANGUAGE_MODEL_LAWS, trial)


def _window(found: str) -> LawBrokenError:
    return LawBrokenError(
        "the_window_is_told",
        found=found,
        expected="PromptTooLongError from the engine for a query that is too long, and prompts that fit for others",
        remedy="Give context_length in tokens, and count_tokens by the tokenizer that scores.",
    )


def _generation(found: str) -> LawBrokenError:
    return LawBrokenError(
        "generation_keeps_its_limits",
        found=found,
        expected="one text for each prompt, without it, of max_new_tokens at most, cut before each stop text",
        remedy="Cut the prompt off by its tokens, and the text at the first stop text that is in it.",
    )
