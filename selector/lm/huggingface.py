"""A causal language model of transformers behind the `LanguageModel` contract.

Completions are tokenised as they stand in the full text: the text is tokenised once, and every token that reaches
beyond the end of the prompt belongs to the completion. Scoring packs requests into prefix trees; whether a model
scores such trees exactly is checked once, against its plain forward pass, and a model that does not is scored one
sequence at a time. This module knows nothing of demonstrations or labels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from selector.errors import ModelLoadError, UsageError
from selector.lm.base import CompletionScore, Usage
from selector.lm.prefix_tree import PackedTree, TokenRequest, pack

logger = logging.getLogger(__name__)

TREE_TOKENS = 512  # attention over a packed row grows with its square; beyond this it costs more than sharing saves
READ_ROWS = 256  # rows of vocabulary logits held at once
SELF_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}  # nats


class HuggingFaceLanguageModel:
    """Scores and generates with a transformers causal language model.

    Args:
        model: The model, in evaluation mode on its device.
        tokenizer: Its fast tokenizer.
        fingerprint: Identifies weights, revision and dtype.

    Raises:
        ModelLoadError: When the tokenizer cannot tell where its tokens stand in the text.
    """

    def __init__(self, model: Any, tokenizer: Any, *, fingerprint: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelLoadError(
                f"the tokenizer {type(tokenizer).__name__} gives no character offsets",
                expected="a fast tokenizer",
                remedy="Choose a model with a tokenizer.json.",
            )
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._fingerprint = fingerprint
        self._usage = Usage()
        self._window = _context_length(model.config)
        beginning = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
        self._beginning = next((token for token in beginning if token is not None), 0)
        self._shares_prefixes = self._trees_are_exact()

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
        sums = np.zeros(len(requests))
        computed = 0
        if self._shares_prefixes:
            for tree in pack(requests, budget=TREE_TOKENS):
                np.add.at(sums, tree.owners, self._read_tree(tree))
                computed += len(tree.tokens)
        else:
            for number, request in enumerate(requests):
                sums[number] = self._read_plainly(request)
                computed += len(request.tokens)
        total = sum(len(request.tokens) for request in requests)
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
            ids = self._tokenizer(prompt)["input_ids"] or [self._beginning]
            inputs = torch.tensor([ids], device=self._model.device)
            with torch.inference_mode(), torch.random.fork_rng():
                torch.manual_seed(seed + number)
                output = self._model.generate(
                    inputs,
                    attention_mask=torch.ones_like(inputs),
                    max_new_tokens=max_new_tokens,
                    pad_token_id=self._beginning,
                    **sampling,
                )[0]
            text = self._tokenizer.decode(output[len(ids) :], skip_special_tokens=True)
            cuts = [text.index(mark) for mark in stop if mark in text]
            texts.append(text[: min(cuts)] if cuts else text)
            self._usage = self._usage.also(calls=1, tokens=len(output), tokens_computed=len(output))
        return texts

    def _tokenised(self, prompts: Sequence[str], completions: Sequence[str]) -> list[TokenRequest]:
        if not all(completions):
            raise UsageError(
                "an empty completion was asked for",
                expected="a text to score behind the prompt",
                remedy="Give every label a verbalizer, and every query a text.",
            )
        if not prompts:
            return []
        full = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
        texts = list(dict.fromkeys(full))
        encoded = self._tokenizer(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
        row = {text: number for number, text in enumerate(texts)}
        requests = []
        for prompt, text in zip(prompts, full, strict=True):
            number = row[text]
            requests.append(
                self._request(
                    encoded["input_ids"][number],
                    encoded["offset_mapping"][number],
                    encoded["special_tokens_mask"][number],
                    prompt_length=len(prompt),
                )
            )
        return requests

    def _request(
        self, ids: list[int], offsets: list[tuple[int, int]], special: list[int], *, prompt_length: int
    ) -> TokenRequest:
        length = len(ids)
        while length and special[length - 1]:  # an end-of-text token that the tokenizer appends is not ours
            length -= 1
        first = next((at for at in range(length) if not special[at] and offsets[at][1] > prompt_length), None)
        if first is None:
            raise UsageError(
                "a completion has no token of its own; the tokenizer drops its text",
                expected="a completion of more than blanks",
                remedy="Give every label a verbalizer with a visible character.",
            )
        if first == 0:  # nothing stands before the completion, so it is conditioned on the beginning of a text
            return TokenRequest((self._beginning, *ids[:length]), 1)
        return TokenRequest(tuple(ids[:length]), first)

    def _read_tree(self, tree: PackedTree) -> npt.NDArray[np.float64]:
        """(R,) log-probabilities of the targets of a packed tree, nats."""
        device, dtype = self._model.device, self._model.dtype
        mask = torch.zeros(tree.attends.shape, dtype=dtype, device=device)
        mask.masked_fill_(~torch.from_numpy(tree.attends).to(device), torch.finfo(dtype).min)
        with torch.inference_mode():
            hidden = self._model.base_model(
                input_ids=torch.from_numpy(tree.tokens)[None].to(device),
                position_ids=torch.from_numpy(tree.positions)[None].to(device),
                attention_mask=mask[None, None],  # (1, 1, T, T), additive
                use_cache=False,
            ).last_hidden_state[0]
            places, row_of = np.unique(tree.read_at, return_inverse=True)
            logprobs = np.zeros(len(tree.targets))
            for start in range(0, len(places), READ_ROWS):
                rows = hidden[torch.from_numpy(places[start : start + READ_ROWS]).to(device)]
                distribution = self._model.get_output_embeddings()(rows).float().log_softmax(dim=-1)
                reads = np.flatnonzero((row_of >= start) & (row_of < start + READ_ROWS))
                picked = distribution[
                    torch.from_numpy(row_of[reads] - start).to(device), torch.from_numpy(tree.targets[reads]).to(device)
                ]
                logprobs[reads] = picked.double().cpu().numpy()
        return logprobs

    def _read_plainly(self, request: TokenRequest) -> float:
        """Log-probability of one completion by the model's own forward pass, nats."""
        with torch.inference_mode():
            ids = torch.tensor([request.tokens], device=self._model.device)
            distribution = self._model(ids, use_cache=False).logits[0].float().log_softmax(dim=-1)
            targets = ids[0, request.first :]
            return float(distribution[request.first - 1 : -1].gather(1, targets[:, None]).double().sum())

    def _trees_are_exact(self) -> bool:
        """Scores three sequences with a common prefix both ways."""
        size = int(self._model.config.get_text_config().vocab_size)
        tokens = [(7 * at * at + 3) % size for at in range(12)]
        requests = [TokenRequest((*tokens[:6], *tokens[start:12]), 5) for start in (6, 8, 9)]
        plain = np.array([self._read_plainly(request) for request in requests])
        trees = np.zeros(len(requests))
        try:
            for tree in pack(requests, budget=TREE_TOKENS):
                np.add.at(trees, tree.owners, self._read_tree(tree))
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            logger.warning("prefixes are not shared: the model takes no tree-shaped mask (%s)", error)
            return False
        exact = bool(np.abs(plain - trees).max() <= SELF_CHECK_TOLERANCE.get(self._model.dtype, 0.5))
        if not exact:
            logger.warning("prefixes are not shared: tree scores differ by %.3g nats", np.abs(plain - trees).max())
        return exact


def _context_length(config: Any) -> int:
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "seq_length"):
        length = getattr(text, name, None)
        if isinstance(length, int) and length > 0:
            return length
    return 2048
