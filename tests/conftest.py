"""Fixtures shared by all tests: fakes, planted data, and the bundled models loaded once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def pool() -> Pool:
    return planted_pool()


@pytest.fixture
def queries() -> list[Example]:
    return planted_examples(6, seed=7, prefix="query")


@pytest.fixture
def encoder() -> ToyEncoder:
    return ToyEncoder()


@pytest.fixture
def engine(pool: Pool) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data sets are not beside the checkout ({SHARED_DATA.name}/ is missing)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def bundled_lm() -> LanguageModel:
    """The bundled language model in float32, without a score store."""
    from selector.lm.config import LanguageModelConfig
    from selector.lm.loading import load_language_model

    return load_language_model(LanguageModelConfig(dtype="float32", device="cpu"))


def tiny_tokenizer() -> object:
    """A byte-level BPE tokenizer trained on planted reviews; no download."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    texts = [planted_template().demonstration(example) for example in planted_examples(40)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>")


@pytest.fixture(scope="session")
def tiny_llama() -> tuple[object, object]:
    """A randomly initialised Llama of two layers and its tokenizer; float32, on the CPU."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),  # type: ignore[arg-type]
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.4,  # spread-out logits, so that a wrong mask or position changes scores
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="sdpa",
        )
        return LlamaForCausalLM(config).eval(), tokenizer
