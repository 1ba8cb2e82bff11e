"""Tests of how a model folder is named by its fingerprint, and how a converted one is put in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from selector.errors import ModelLoadError
from selector.lm import loading
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model


@pytest.fixture
def folder(tiny_llama: tuple[Any, Any], tmp_path: Path) -> Path:
    model, tokenizer = tiny_llama
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("config.json", "rms_norm_eps", 0.5), ("tokenizer_config.json", "add_bos_token", True)],
)
def test_the_fingerprint_follows_settings(folder: Path, name: str, setting: str, value: Any) -> None:
    """Guards the score store: the same weights with other settings score otherwise, and met the old scores."""
    config = LanguageModelConfig(model=str(folder), dtype="float32", device="cpu")
    before = load_language_model(config).fingerprint
    settings = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(settings | {setting: value}), encoding="utf-8")
    assert load_language_model(config).fingerprint != before


def test_the_fingerprint_does_not_follow_who_wrote_the_settings(folder: Path) -> None:
    """Guards artifacts and scores of one model that two versions of the library have saved on two machines."""
    before = loading._weights_fingerprint(str(folder), None)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert settings["transformers_version"]
    (folder / "config.json").write_text(json.dumps({**settings, "transformers_version": "9.9"}, indent=7))
    assert loading._weights_fingerprint(str(folder), None) == before


def test_the_fingerprint_tells_two_files_apart_that_changed_places(folder: Path) -> None:
    """Guards against a name that knows contents only: which file holds them matters."""
    first, second = folder / "special_tokens_map.json", folder / "added_tokens.json"
    first.write_text("{}")
    second.write_text('{"<x>": 3}')
    before = loading._weights_fingerprint(str(folder), None)
    first.write_text('{"<x>": 3}')
    second.write_text("{}")
    assert loading._weights_fingerprint(str(folder), None) != before


def test_weights_that_are_missing_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    """Guards against an encoder named as the language model: what it lacks was drawn at random, anew in every run."""
    encoder = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(encoder).save_pretrained(tmp_path / "encoder")
    for file in folder.glob("tokenizer*"):
        (tmp_path / "encoder" / file.name).write_bytes(file.read_bytes())
    config = LanguageModelConfig(model=str(tmp_path / "encoder"), dtype="float32", device="cpu")
    with pytest.raises(ModelLoadError, match=r"lacks \d+ of the weights"):
        load_language_model(config)
    tied = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=64))
    tied.save_pretrained(tmp_path / "encoder")  # weights that two layers share stand in the files once
    assert load_language_model(config).context_length == 64


def test_a_converted_model_never_lands_within_another(tmp_path: Path) -> None:
    """Guards two processes that convert at once: the slower one's folder was moved into the quicker one's."""
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    loading._put_in_place(tmp_path / "mine", tmp_path / "theirs")
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["config.json"]
    assert (tmp_path / "theirs" / "config.json").read_text() == "theirs"
    loading._put_in_place(tmp_path / "mine", tmp_path / "new")
    assert (tmp_path / "new" / "config.json").read_text() == "mine"
    with pytest.raises(OSError, match="absent"):
        loading._put_in_place(tmp_path / "absent", tmp_path / "nowhere")
