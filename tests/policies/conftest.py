"""Fixtures of the tests of learners."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def small(tiny_llama: tuple[Any, Any]) -> tuple[Any, Any]:
    """A model of small weights, which can learn, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    _, tokenizer = tiny_llama
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=0,
        )
        return LlamaForCausalLM(config), tokenizer
