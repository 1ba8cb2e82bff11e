"""Scores token requests with a causal model's own forward pass, in padded batches of like length.

What is done for a model that cannot be scored by its prefix tree, and the yardstick for those that can. Padding stands
on the right, where no token of a causal model looks. This module knows nothing of texts.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from selector.lm.memory import MemoryPlan
from selector.lm.prefix_tree import TokenRequest


class PlainScorer:
    """Scores requests in padded batches.

    Args:
        model: A causal model of transformers.
        memory: What a batch may use.
        padding: The token id of padding.
    """

    def __init__(self, model: Any, *, memory: MemoryPlan, padding: int) -> None:
        self._model = model
        self._memory = memory
        self._padding = padding
        self._reads_some = "logits_to_keep" in inspect.signature(model.forward).parameters

    def logprobs(self, requests: Sequence[TokenRequest]) -> tuple[npt.NDArray[np.float64], int]:
        """Scores completions.

        Args:
            requests: The requests.

        Returns:
            One sum of log-probabilities for each request, nats; and how many tokens were computed, padding included.
        """
        sums = np.zeros(len(requests))
        computed = 0
        for batch in self._batches(requests):
            sums[batch], tokens = self._score([requests[number] for number in batch])
            computed += tokens
        return sums, computed

    def _batches(self, requests: Sequence[TokenRequest]) -> Iterator[list[int]]:
        batch: list[int] = []
        longest = 0
        for number in sorted(range(len(requests)), key=lambda at: len(requests[at].tokens)):
            longest = len(requests[number].tokens)
            reads = longest if not self._reads_some else longest - requests[number].first
            size = len(batch) + 1
            if batch and (size * longest > self._memory.chunk_tokens or size * reads > self._memory.chunk_reads):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _score(self, requests: Sequence[TokenRequest]) -> tuple[npt.NDArray[np.float64], int]:
        device = self._model.device
        longest = max(len(request.tokens) for request in requests)
        ids = torch.full((len(requests), longest), self._padding, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            ids[row, : len(request.tokens)] = torch.tensor(request.tokens)
            mask[row, : len(request.tokens)] = 1
        start = min(request.first for request in requests) - 1  # nothing before it is read
        options = {"logits_to_keep": torch.arange(start, longest, device=device)} if self._reads_some else {}
        unpadded = {} if bool(mask.all()) else {"attention_mask": mask.to(device)}
        with torch.inference_mode():
            logits = self._model(ids.to(device), use_cache=False, **unpadded, **options).logits
            if not self._reads_some:
                logits = logits[:, start:]
            sums = np.zeros(len(requests))
            for row, request in enumerate(requests):
                targets = ids[row, request.first : len(request.tokens)].to(device)
                place = request.first - 1 - start
                read = logits[row, place : place + len(targets)].float()
                sums[row] = float((read.gather(1, targets[:, None])[:, 0] - read.logsumexp(dim=-1)).double().sum())
        return sums, ids.numel()
