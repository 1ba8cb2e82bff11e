"""How much a scoring pass may hold, from a budget in bytes and the shape of a model.

Half of the budget keeps prefixes, a quarter holds vocabulary logits, a quarter the activations of a pass. This module
makes estimates from a configuration; it never touches a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 2**20
CPU_BUDGET = 1024 * MIB
CUDA_SHARE = 0.4  # of the memory that is free once the weights are there
# Tokens of a pass: matrix products of a CPU gain nothing from more, those of a GPU need more to be busy.
BEST_TOKENS = {"cpu": 512, "cuda": 4096}
# On a CPU small blocks save arithmetic; on a GPU few launches count more.
BLOCK_ROWS = {"cpu": 64, "cuda": 1024}
FEWEST_TOKENS = 16


@dataclass(frozen=True)
class MemoryPlan:
    """What a pass may hold.

    Attributes:
        budget: Bytes that may be used beside the weights.
        chunk_tokens: Tokens computed in one pass.
        chunk_reads: Positions of one pass at which the vocabulary is read.
        block_rows: Rows that attend together.
    """

    budget: int
    chunk_tokens: int
    chunk_reads: int
    block_rows: int

    def slots(self, bytes_per_slot: int) -> int:
        """Tells how many prefix tokens may be kept.

        Args:
            bytes_per_slot: Memory of one token's keys and values, bytes; 0 while it is not known.

        Returns:
            The number; 0 while it is not known.
        """
        return self.budget // 2 // bytes_per_slot if bytes_per_slot else 0


def plan_memory(model: Any, *, budget: int | None) -> MemoryPlan:
    """Plans the memory of scoring passes.

    Args:
        model: A causal model of transformers, on its device.
        budget: Bytes that may be used beside the weights; None is 1 GiB on a CPU and 40 % of what is free on a GPU.

    Returns:
        The plan; it allows some work however small the budget is.
    """
    kind = model.device.type if model.device.type in BEST_TOKENS else "cuda"
    if budget is None and kind == "cuda":
        import torch

        budget = int(torch.cuda.mem_get_info(model.device)[0] * CUDA_SHARE)
    budget = CPU_BUDGET if budget is None else budget
    text = model.config.get_text_config()
    width = int(text.hidden_size)
    inner = next(
        (int(size) for name in ("intermediate_size", "ffn_dim", "n_inner") if (size := getattr(text, name, 0))),
        4 * width,
    )
    activations = (8 * width + 4 * inner) * model.dtype.itemsize  # of one token in one layer, generously
    quarter = budget // 4
    tokens = min(BEST_TOKENS[kind], max(FEWEST_TOKENS, quarter // activations))
    reads = min(tokens, max(1, quarter // (int(text.vocab_size) * model.dtype.itemsize)))
    return MemoryPlan(budget, tokens, reads, BLOCK_ROWS[kind])
