"""What runs in a worker's process on a Ray cluster: one copy of the model behind plain calls.

This module knows nothing of Ray, of shards or of other workers.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any, NamedTuple

from selector.lm.base import CompletionScore, LanguageModel, Usage, gives_exact_scores
from selector.lm.config import LanguageModelConfig


class Job(NamedTuple):
    """One call of a worker.

    Attributes:
        places: Where the results belong.
        method: The worker's method.
        arguments: Of the method.
    """

    places: list[int]
    method: str
    arguments: tuple[Any, ...]


class ModelWorker:
    """What runs in a worker's process.

    Args:
        config: The language model to load.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        self._config = config

    @cached_property
    def _lm(self) -> LanguageModel:  # here and not in the constructor, so that its errors keep their names
        from selector.lm.loading import load_language_model

        return load_language_model(self._config)

    def process(self) -> int:
        """Tells where the worker runs.

        Returns:
            The process id.
        """
        return os.getpid()

    def facts(self) -> tuple[str, int, bool]:
        """Tells what the driver must know.

        Returns:
            Fingerprint, context length, and whether scores are exact: workers may ask a server.
        """
        return self._lm.fingerprint, self._lm.context_length, gives_exact_scores(self._lm)

    def count_tokens(self, texts: list[str]) -> tuple[list[int], Usage]:
        """Counts tokens.

        Args:
            texts: The texts.

        Returns:
            Their lengths, and what it cost.
        """
        return self._lm.count_tokens(texts), Usage()

    def logprobs(self, prompts: list[str], completions: list[str]) -> tuple[list[CompletionScore], Usage]:
        """Scores completions.

        Args:
            prompts: The prompts.
            completions: The completions.

        Returns:
            The scores, and what they cost.
        """
        before = self._lm.usage
        return self._lm.logprobs(prompts, completions), self._lm.usage - before

    def generate(self, prompts: list[str], options: dict[str, Any]) -> tuple[list[str], Usage]:
        """Continues prompts.

        Args:
            prompts: The prompts.
            options: Of `LanguageModel.generate`.

        Returns:
            The continuations, and what they cost.
        """
        before = self._lm.usage
        return self._lm.generate(prompts, **options), self._lm.usage - before
