"""Scores token requests with a causal model by way of their prefix tree.

One forward pass for each chunk of the tree; keys and values stay in an arena that is kept from call to call, the
vocabulary is read only where a completion is scored. A memory budget bounds chunks and arena; work that does not fit is
split, never refused. This module knows nothing of texts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from selector.lm.memory import MemoryPlan
from selector.lm.prefix_slots import PrefixSlots
from selector.lm.prefix_tree import TokenRequest, TokenTree, build_tree
from selector.lm.tree_attention import KeyValueArena, TreePass
from selector.lm.tree_plan import Chunk, PlanLimits, chunks

logger = logging.getLogger(__name__)

READ_ROWS = 32  # rows of vocabulary logits normalised at once: what fits into a cache


class TreeScorer:
    """Scores requests and keeps their prefixes.

    Args:
        model: A causal model of transformers.
        memory: What may be used beside the weights.
    """

    def __init__(self, model: Any, *, memory: MemoryPlan) -> None:
        self._model = model
        self._memory = memory
        self._arena = KeyValueArena()
        self._slots = PrefixSlots(0)
        self._windows: tuple[int | None, ...] = ()

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many positions each attention layer said it sees in the last pass; None is all."""
        return self._windows

    def logprobs(self, requests: Sequence[TokenRequest]) -> tuple[npt.NDArray[np.float64], int]:
        """Scores completions.

        Args:
            requests: The requests.

        Returns:
            One sum of log-probabilities for each request, nats; and how many tokens were computed.
        """
        sums = np.zeros(len(requests))
        computed = 0
        for chunk, logprobs in self._passes(build_tree(requests)):
            np.add.at(sums, chunk.owners, logprobs)
            computed += len(chunk.tokens)
        return sums, computed

    def forget(self) -> None:
        """Gives up all kept prefixes and their memory."""
        self._slots = PrefixSlots(0)
        self._arena.clear()

    def _passes(self, tree: TokenTree) -> Iterator[tuple[Chunk, npt.NDArray[np.float64]]]:
        done, size = 0, self._memory.chunk_tokens
        while done < len(tree.tokens):
            size = min(size, self._memory.chunk_tokens)
            # Even chunks: a short last one would waste most of its pass.
            left = len(tree.tokens) - done
            limits = PlanLimits(
                tokens=-(-left // -(-left // size)),
                reads=self._memory.chunk_reads,
                block_rows=self._memory.block_rows,
            )
            self._make_room(max(tree.depths) + 1 + limits.tokens)
            try:
                for chunk in chunks(tree, self._slots, limits=limits, start=done):
                    yield chunk, self._read(chunk)
                    done = chunk.done
                done = len(tree.tokens)
            except torch.OutOfMemoryError:
                self.forget()
                if size == 1:
                    raise
                size //= 2
                logger.warning("out of memory: passes of %d tokens are tried", size)
            except BaseException:
                self.forget()  # rows of the interrupted pass are half written
                raise

    def _make_room(self, least: int) -> None:
        """Lets the slots grow to what the budget allows, and to `least` whatever it says: one path must fit."""
        kept = self._memory.slots(self._arena.bytes_per_slot)
        self._slots.grow(max(least, kept))

    def _read(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """(R,) log-probabilities of the targets of a chunk, nats."""
        model, device = self._model, self._model.device
        rows, row_of = np.unique(chunk.read_rows, return_inverse=True)
        # A chunk without a read still fills the arena; one position is asked for because none cannot be.
        wanted = torch.from_numpy(rows if len(rows) else np.zeros(1, dtype=np.int64)).to(device)
        tree_pass = TreePass(chunk, arena=self._arena, capacity=self._slots.capacity, device=device)
        with torch.inference_mode(), tree_pass.active(model):
            logits = model(
                input_ids=torch.from_numpy(chunk.tokens)[None].to(device),
                position_ids=torch.from_numpy(chunk.positions)[None].to(device),
                # Any 4-D mask keeps transformers from making one; tree attention has its own.
                attention_mask=torch.zeros(1, 1, 1, 1, dtype=model.dtype, device=device),
                use_cache=False,
                logits_to_keep=wanted,
            ).logits[0]
            self._windows = tuple(tree_pass.windows)
            return _target_logprobs(logits, row_of, chunk.targets)


def _target_logprobs(
    logits: torch.Tensor, row_of: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    normalisers = torch.cat([part.float().logsumexp(dim=-1) for part in torch.split(logits, READ_ROWS)])  # (rows,)
    rows, columns = torch.from_numpy(row_of).to(logits.device), torch.from_numpy(targets).to(logits.device)
    picked: npt.NDArray[np.float64] = (logits[rows, columns].float() - normalisers[rows]).double().cpu().numpy()
    return picked
