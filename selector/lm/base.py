"""The contract of a language model: strings in, log-probabilities out.

Nothing here knows of demonstrations, labels or tokenisers. The leading space of a completion belongs to the
completion. Log-probabilities are in nats, natural logarithm, higher is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

from selector.errors import ServerCapabilityError


class CompletionScore(NamedTuple):
    """The score of one completion behind one prompt.

    Attributes:
        logprob: Sum of the log-probabilities of the completion's tokens, nats.
        tokens: How many tokens the completion has as it stands in the full text.
        total_tokens: How many tokens prompt and completion have together: what scoring it alone would cost.
    """

    logprob: float
    tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What was asked of a language model so far.

    Attributes:
        calls: Number of (prompt, completion) pairs scored or texts generated.
        tokens: Their length when each is scored alone, tokens: the cost without sharing or cache.
        tokens_computed: Tokens that really went through the model.
        cached: Pairs answered from the score store.
    """

    calls: int = 0
    tokens: int = 0
    tokens_computed: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.tokens_computed + other.tokens_computed,
            self.cached + other.cached,
        )

    def __sub__(self, other: Usage) -> Usage:
        return self + Usage(-other.calls, -other.tokens, -other.tokens_computed, -other.cached)

    def also(self, **changes: int) -> Usage:
        """Adds to some of the counters.

        Args:
            **changes: Counter name to increment.

        Returns:
            A new Usage.
        """
        return replace(self, **{name: getattr(self, name) + change for name, change in changes.items()})


def gives_exact_scores(lm: LanguageModel) -> bool:
    """Tells whether all scores of a model are log-probabilities.

    Args:
        lm: The language model.

    Returns:
        False where some are bounds or guesses, which rank labels but must not be averaged or compared with others.
    """
    return bool(getattr(lm, "exact", True))


def require_exact_scores(lm: LanguageModel, asked: str, otherwise: str) -> None:
    """Makes sure that scores of a model may be averaged and compared.

    Args:
        lm: The language model.
        asked: What needs it, for the error.
        otherwise: What else can be done, for the error.

    Raises:
        ServerCapabilityError: When they may be bounds.
    """
    if not gives_exact_scores(lm):
        raise ServerCapabilityError(
            f"{asked} is asked of a server whose scores may be bounds",
            expected="a server with echo or prompt_logprobs",
            remedy=f"{otherwise}, use another server, or load the model here.",
        )


@runtime_checkable
class LanguageModel(Protocol):
    """What the engine needs of a language model.

    A model that cannot give every log-probability has an attribute `exact` that is False; see `gives_exact_scores`.

    Attributes:
        fingerprint: Identifies the weights, their revision and dtype; equal fingerprints give equal scores.
        context_length: The longest prompt and completion together, tokens.
        usage: Running count of what was asked.
    """

    @property
    def fingerprint(self) -> str:
        """Identifies weights, revision and dtype."""
        ...

    @property
    def context_length(self) -> int:
        """The window, tokens."""
        ...

    @property
    def usage(self) -> Usage:
        """Running count of what was asked."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text.

        Args:
            texts: Full texts.

        Returns:
            One count for each text.
        """
        ...

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        """Scores each completion behind its prompt.

        Args:
            prompts: P prompts; may be empty strings.
            completions: P completions, not empty; a leading space belongs here.

        Returns:
            P scores, in the order of the arguments.

        Raises:
            UsageError: When a completion is empty.
        """
        ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> list[str]:
        """Continues each prompt.

        Args:
            prompts: The prompts.
            max_new_tokens: The longest continuation, tokens.
            stop: Texts before which a continuation is cut.
            temperature: 0 is greedy.
            top_k: Sample among the k most probable tokens; 0 is all.
            seed: Seeds the sampling.

        Returns:
            One continuation for each prompt, without the prompt.
        """
        ...
