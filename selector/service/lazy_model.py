"""A language model that is loaded when somebody first asks it, so that selecting starts without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selector.errors import LanguageModelAbsentError
from selector.lm.base import CompletionScore, LanguageModel, Usage, gives_exact_scores


class LazyLanguageModel:
    """Stands for a language model.

    Args:
        load: Loads it; None where there is none, and asking is an error.
    """

    def __init__(self, load: Callable[[], LanguageModel] | None) -> None:
        self._load = load
        self._model: LanguageModel | None = None

    @property
    def model(self) -> LanguageModel:
        """The language model itself, loaded the first time."""
        if self._model is None:
            if self._load is None:
                raise LanguageModelAbsentError("this")
            self._model = self._load()
        return self._model

    @property
    def exact(self) -> bool:
        """Whether its scores are all log-probabilities."""
        return gives_exact_scores(self.model)

    @property
    def fingerprint(self) -> str:
        """Identifies its weights."""
        return self.model.fingerprint

    @property
    def context_length(self) -> int:
        """Its window, tokens."""
        return self.model.context_length

    @property
    def usage(self) -> Usage:
        """What was asked of it; nothing before it is loaded."""
        return Usage() if self._model is None else self._model.usage

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts tokens; see `LanguageModel.count_tokens`."""
        return self.model.count_tokens(texts)

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        """Scores completions; see `LanguageModel.logprobs`."""
        return self.model.logprobs(prompts, completions)

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
        """Continues prompts; see `LanguageModel.generate`."""
        return self.model.generate(
            prompts, max_new_tokens=max_new_tokens, stop=stop, temperature=temperature, top_k=top_k, seed=seed
        )
