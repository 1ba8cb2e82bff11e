"""Tiny deterministic stand-ins for a language model and an encoder.

`ToyLanguageModel` really learns in context (it copies what followed similar text earlier in the prompt), so selectors
and orderers can be tested without weights. Nothing here is used in production.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from selector.errors import UsageError
from selector.lm.base import CompletionScore, Usage

_TOKEN = re.compile(r"\s*\S+|\s+$")


class ToyLanguageModel:
    """An induction-head language model over words: a smoothed copy of what followed the same word before.

    The probability of a next word grows with each earlier occurrence of the current word that was followed by it, the
    more so the more words the two surroundings share. Probabilities sum to one over a vocabulary of 1,000 words.

    Args:
        context_length: The window, words.
    """

    def __init__(self, *, context_length: int = 512) -> None:
        self._context_length = context_length
        self._usage = Usage()

    @property
    def fingerprint(self) -> str:
        """Names this model; there are no weights."""
        return "toy-induction-1"

    @property
    def context_length(self) -> int:
        """The window, words."""
        return self._context_length

    @property
    def usage(self) -> Usage:
        """Running count of what was asked."""
        return self._usage

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts words; see `LanguageModel.count_tokens`."""
        return [len(_TOKEN.findall(text)) for text in texts]

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        """Scores completions; see `LanguageModel.logprobs`.

        Args:
            prompts: P prompts.
            completions: P completions, none empty.

        Returns:
            P scores.

        Raises:
            UsageError: When a completion is empty.
        """
        if not all(completions):
            raise UsageError("an empty completion was asked for", expected="a text", remedy="Give every label a text.")
        scores = [self._score(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        total = sum(score.total_tokens for score in scores)
        self._usage = self._usage.also(calls=len(scores), tokens=total, tokens_computed=total)
        return scores

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
        """Continues prompts with copied words; see `LanguageModel.generate`."""
        del top_k
        texts = []
        for number, prompt in enumerate(prompts):
            rng = np.random.default_rng([seed, number])
            words = _TOKEN.findall(prompt)
            made: list[str] = []
            for _ in range(max_new_tokens):
                context = words + made
                choices = sorted(set(context)) or [" end"]
                chances = np.array([self._probability(context, word) for word in choices])
                index = int(chances.argmax())
                if temperature > 0:
                    weights = chances ** (1 / temperature)
                    index = int(rng.choice(len(choices), p=weights / weights.sum()))
                made.append(choices[index])
                if any(mark in "".join(made) for mark in stop):
                    break
            text = "".join(made)
            cuts = [text.index(mark) for mark in stop if mark in text]
            texts.append(text[: min(cuts)] if cuts else text)
        return texts

    def _score(self, prompt: str, completion: str) -> CompletionScore:
        words = _TOKEN.findall(prompt + completion)
        first, seen = len(words), len(prompt + completion)
        while first and seen > len(prompt):
            first -= 1
            seen -= len(words[first])
        logprob = sum(math.log(self._probability(words[:at], words[at])) for at in range(first, len(words)))
        return CompletionScore(logprob, len(words) - first, len(words))

    @staticmethod
    def _probability(context: Sequence[str], word: str, *, vocabulary: int = 1000, window: int = 12) -> float:
        if not context:
            return 1 / vocabulary
        here = set(context[-window:])
        matches = {}
        for at in range(1, len(context)):
            if context[at - 1] == context[-1]:
                overlap = len(here & set(context[max(0, at - window) : at])) - 1
                matches[at] = 1.0 + 2.0 * overlap
        copied = sum(weight for at, weight in matches.items() if context[at] == word)
        return (1 / vocabulary + copied) / (1 + sum(matches.values()))


class ScriptedLanguageModel(ToyLanguageModel):
    """Writes what a script says, so that what is made of recorded generations can be tested; scores as its base does.

    Args:
        replies: From a prompt and the seed of its sampling to what is written behind it.
        context_length: The window, words.
    """

    def __init__(self, replies: Callable[[str, int], str], *, context_length: int = 4096) -> None:
        super().__init__(context_length=context_length)
        self._replies = replies
        self.prompts: list[str] = []

    @property
    def fingerprint(self) -> str:
        """Names this model; the script is not part of it."""
        return "scripted-1"

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
        """Continues prompts by the script, cut before a stop and to the length; see `LanguageModel.generate`."""
        del top_k
        texts = []
        for number, prompt in enumerate(prompts):
            text = self._replies(prompt, seed + number if temperature > 0 else 0)
            cuts = [text.index(mark) for mark in stop if mark in text]
            text = text[: min(cuts)] if cuts else text
            texts.append("".join(_TOKEN.findall(text)[:max_new_tokens]))
        self.prompts += prompts
        words = sum(self.count_tokens([*prompts, *texts]))
        self._usage = self._usage.also(calls=len(prompts), tokens=words, tokens_computed=words)
        return texts


class ToyEncoder:
    """Embeds a text as the normalised sum of one fixed random vector per word.

    Args:
        width: D, the length of an embedding.
    """

    def __init__(self, *, width: int = 32) -> None:
        self.width = width
        self.fingerprint = f"toy-bag-of-words-{width}"

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeds texts; see `selector.retrieval.encoder.TextEncoder`."""
        rows = np.zeros((len(texts), self.width), dtype=np.float32)
        for number, text in enumerate(texts):
            rows[number] = sum(self._word(word) for word in re.findall(r"\w+", text.lower()) or ["empty"])
        normalised: npt.NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return normalised

    def token_embeddings(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Embeds words; see `selector.retrieval.encoder.TokenEncoder`."""
        found = [re.findall(r"\w+", text.lower()) or ["empty"] for text in texts]
        rows = [np.stack([self._word(word) for word in words]) for words in found]
        return [own / np.linalg.norm(own, axis=1, keepdims=True) for own in rows]

    def _word(self, word: str) -> npt.NDArray[np.float32]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).standard_normal(self.width).astype(np.float32)
