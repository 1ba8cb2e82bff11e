"""Fixtures of the tests of learners."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from policies.mining import MiningConfig, mine
from selector.inference.engine import InferenceEngine
from selector.strategies.random import RandomSelector
from selector.testing import ToyLanguageModel, planted_pool, planted_template


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


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a randomly initialised BERT of two layers; no download."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # A vocabulary in a fixed order: trainers of tokenizers number their tokens differently from run to run.
    texts = [f"{example.fields['text']} {example.label}" for example in planted_pool(40)]
    words = sorted({word for text in texts for word in re.findall(r"[a-z]+|[0-9]+", text)})
    vocabulary = {token: number for number, token in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder = tmp_path_factory.mktemp("bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder / "parts")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.2,
        )
        BertModel(config).save_pretrained(folder / "parts")
    encoder = Transformer(str(folder / "parts"), max_seq_length=48)
    SentenceTransformer(modules=[encoder, Pooling(32)], device="cpu").save(str(folder / "base"))
    return folder / "base"


@pytest.fixture(scope="session")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted pool, mined with the toy language model from random candidates."""
    pool = planted_pool(40)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    config = MiningConfig(candidates=12)
    return mine(engine, pool, recall=RandomSelector(pool), config=config, out=tmp_path_factory.mktemp("mined"))
