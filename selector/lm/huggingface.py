"""A causal language model of transformers behind the `LanguageModel` contract.

Completions are tokenised as they stand in the full text (see `selector.lm.tokenising`). Scoring goes by prefix trees;
whether a model scores them exactly is checked once, against its plain forward pass, and a model that does not is scored
in plain batches. Threads may share a model: they take turns. This module knows nothing of demonstrations or labels.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from selector.errors import ModelLoadError
from selector.lm.attention import AttentionReader
from selector.lm.base import CompletionScore, Usage
from selector.lm.memory import plan_memory
from selector.lm.plain_scoring import PlainScorer
from selector.lm.prefix_tree import TokenRequest
from selector.lm.tokenising import beginning_token, token_requests
from selector.lm.tree_check import why_no_trees
from selector.lm.tree_scoring import TreeScorer

logger = logging.getLogger(__name__)


class HuggingFaceLanguageModel:
    """Scores and generates with a transformers causal language model.

    Args:
        model: The model, in evaluation mode on its device.
        tokenizer: Its fast tokenizer.
        fingerprint: Identifies weights, revision and dtype.
        memory_budget: Bytes that scoring may use beside the weights; None is 1 GiB on a CPU and 40 % of what is free on
            a GPU.

    Raises:
        ModelLoadError: When the tokenizer cannot tell where its tokens stand in the text.
    """

    def __init__(self, model: Any, tokenizer: Any, *, fingerprint: str, memory_budget: int | None = None) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelLoadError(
                f"the tokenizer {type(tokenizer).__name__} gives no character offsets",
                expected="a fast tokenizer",
                remedy="Choose a model with a tokenizer.json.",
            )
        self._model = model.eval()
        _write_what_is_probable(model)
        self._tokenizer = tokenizer
        self._fingerprint = fingerprint
        self._usage = Usage()
        self._window = context_length_of(model.config)
        self._beginning = beginning_token(tokenizer)
        self._memory = plan_memory(self._model, budget=memory_budget)
        self._lock = threading.Lock()  # held while the model works, and while usage is counted
        self._reading = threading.Lock()  # held while the tokenizer works; it has a state of its own
        self._scores = self._scorer()

    @property
    def fingerprint(self) -> str:
        """Identifies weights, revision and dtype."""
        return self._fingerprint

    @property
    def context_length(self) -> int:
        """The window, tokens."""
        return self._window

    @property
    def usage(self) -> Usage:
        """Running count of what was asked."""
        return self._usage

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts tokens; see `LanguageModel.count_tokens`."""
        with self._reading:
            return [len(ids) for ids in self._tokenizer(list(texts))["input_ids"]] if texts else []

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
        requests = self._tokenised(prompts, completions)
        total = sum(len(request.tokens) for request in requests)
        with self._lock:
            sums, computed = self._scores.logprobs(requests)
            self._usage = self._usage.also(calls=len(requests), tokens=total, tokens_computed=computed)
        return [
            CompletionScore(float(logprob), len(request.tokens) - request.first, len(request.tokens))
            for logprob, request in zip(sums, requests, strict=True)
        ]

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
        """Continues prompts, one at a time so that no padding touches them; see `LanguageModel.generate`."""
        texts = []
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": top_k, "top_p": 1.0}
        if stop:
            sampling |= {"stop_strings": list(stop), "tokenizer": self._tokenizer}
        for number, prompt in enumerate(prompts):
            with self._reading:
                ids = self._tokenizer(prompt)["input_ids"] or [self._beginning]
            inputs = torch.tensor([ids], device=self._model.device)
            # A turn for each text: scoring goes on between two of them, never within one.
            with self._lock, torch.inference_mode(), torch.random.fork_rng():
                torch.manual_seed(seed + number)
                output = self._model.generate(
                    inputs,
                    attention_mask=torch.ones_like(inputs),
                    max_new_tokens=max_new_tokens,
                    pad_token_id=self._beginning,
                    **sampling,
                )[0]
                self._usage = self._usage.also(calls=1, tokens=len(output), tokens_computed=len(output))
            text = self._tokenizer.decode(output[len(ids) :], skip_special_tokens=True)
            cuts = [text.index(mark) for mark in stop if mark in text]
            texts.append(text[: min(cuts)] if cuts else text)
        return texts

    def attention_reader(self) -> AttentionReader:
        """Gives what reads this model's attention; it takes turns with scoring.

        Returns:
            The reader.
        """
        return AttentionReader(self._model, self._tokenizer, turn=self._lock, reading=self._reading)

    def _tokenised(self, prompts: Sequence[str], completions: Sequence[str]) -> list[TokenRequest]:
        with self._reading:
            return token_requests(self._tokenizer, prompts, completions)

    def _scorer(self) -> TreeScorer | PlainScorer:
        plain = PlainScorer(self._model, memory=self._memory, padding=self._beginning)
        reason = why_no_trees(self._model, plain)
        if reason is None:
            return TreeScorer(self._model, memory=self._memory)
        logger.warning("prefixes are not shared, plain batches are scored: %s", reason)
        return plain


def context_length_of(config: Any) -> int:
    """Reads the context window out of a model's configuration.

    Args:
        config: That of a causal model of transformers.

    Returns:
        Tokens; 2,048 where the configuration does not say.
    """
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "seq_length"):
        length = getattr(text, name, None)
        if isinstance(length, int) and length > 0:
            return length
    return 2048


def _write_what_is_probable(model: Any) -> None:
    """Takes off penalties that a model's files put on repeated words: demonstrations are to be repeated."""
    told = getattr(model, "generation_config", None)
    if told is not None:
        ends = {name: getattr(told, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = GenerationConfig(**ends)
