"""Fixtures shared by all tests: fakes, planted data, and the bundled models loaded once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else litellm asks the network when it is imported

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


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: the mean of one random vector for each byte pair."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer: Any = tiny_tokenizer()
    folder = tmp_path_factory.mktemp("tiny-encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=32)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def planted_task(tmp_path_factory: pytest.TempPathFactory, tiny_llama: tuple[Any, Any], tiny_encoder: Path) -> Path:
    """A TASK.toml over planted reviews, with the tiny language model and the tiny encoder."""
    folder = tmp_path_factory.mktemp("planted-task")
    for part in tiny_llama:
        part.save_pretrained(folder / "lm")
    lines = [json.dumps({**one.fields, "label": one.label}) for one in planted_examples(60)]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    document = {
        "data": {"train": "train.jsonl", "test_size": 8, "dev_size": 6, "reward_size": 8},
        "fields": {"inputs": ["text"], "label": "label"},
        "prompt": {"template": planted_template().template},
        "labels": dict(planted_template().verbalizers),
        "lm": {"model": str(folder / "lm"), "device": "cpu"},
        "encoder": {"model": str(tiny_encoder)},
    }
    sections = [
        f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())
        for name, section in document.items()
    ]
    path = folder / "task.toml"
    path.write_text("\n".join(sections), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def planted_policy(tmp_path_factory: pytest.TempPathFactory, planted_task: Path, tiny_encoder: Path) -> Path:
    """The folder of an exported policy, trained for a moment on the planted task."""
    from envs.demonstrations import query_problem
    from policies.export import export_policy
    from policies.policy_config import PolicyTrainingConfig
    from policies.ppo import train_policy
    from policies.runs import Provenance
    from selector.data.task import Task
    from selector.retrieval.encoder import SentenceEncoder
    from selector.strategies.dense import NearestSelector

    folder = tmp_path_factory.mktemp("planted-policy")
    task, encoder = Task.load(planted_task), SentenceEncoder.load(tiny_encoder)
    engine = InferenceEngine(ToyLanguageModel(), task.template, task.pool)
    config = PolicyTrainingConfig(
        shots=2,
        shortlist_size=6,
        total_steps=64,
        copies=8,
        rollout_steps=4,
        batch_size=16,
        similarity_weight=0.0,
        warm_start="none",
    )
    problem = query_problem(engine, task.reward, NearestSelector(task.pool, encoder), config.decision())
    fingerprints = {
        "pool": task.pool.fingerprint,
        "template": task.template.fingerprint,
        "encoder": encoder.fingerprint,
        "language model": engine.lm.fingerprint,
    }
    provenance = Provenance(str(tiny_encoder), labelled_demonstrations=False, fingerprints=fingerprints)
    run = train_policy(problem, problem, out=folder / "run", config=config, provenance=provenance)
    return export_policy(run, folder / "policy")
