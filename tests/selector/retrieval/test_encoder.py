"""Tests of the encoder."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from selector.errors import ExtraMissingError, ModelLoadError, UnknownNameError, UsageError
from selector.retrieval import onnx_transformer
from selector.retrieval.encoder import BFLOAT16, ONNX, ONNX_INT8, TORCH, SentenceEncoder, TextEncoder, TokenEncoder


@pytest.mark.bundled
def test_the_bundled_encoder_gives_unit_rows_that_know_meaning(tmp_path: Path) -> None:
    """Guards normalisation, the cache of repeated texts, save and load, and that the embeddings mean something."""
    encoder = SentenceEncoder.load("all-minilm-l6-v2")
    assert isinstance(encoder, TextEncoder)
    rows = encoder.encode(["a wonderful film", "a great movie", "interest rates rose", "a wonderful film"])
    assert (rows.dtype, rows.shape) == (np.float32, (4, encoder.width))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert rows[0] @ rows[1] > 0.5 > rows[0] @ rows[2]
    assert np.array_equal(rows[0], rows[3])
    assert encoder.encode([]).shape == (0, encoder.width)
    encoder.save(tmp_path / "copy")
    copy = SentenceEncoder.load(tmp_path / "copy")
    assert copy.fingerprint == encoder.fingerprint
    assert copy.encode(["a great movie"])[0] == pytest.approx(rows[1], abs=1e-6)


@pytest.mark.bundled
def test_an_encoder_saved_in_half_precision_embeds_in_float32(tmp_path: Path) -> None:
    """Guards folders in bfloat16, whose weights ended in a traceback where they were identified."""
    plain = SentenceEncoder.load("all-minilm-l6-v2")
    model = deepcopy(plain._model).to(torch.bfloat16)
    model.save(str(tmp_path / "half"), create_model_card=False)
    loaded = SentenceEncoder.load(tmp_path / "half")
    rows = loaded.encode(["a fine film", "a dull plot"])
    assert rows.dtype == np.float32
    assert np.allclose(rows, plain.encode(["a fine film", "a dull plot"]), atol=0.02)


@pytest.mark.bundled
def test_tokens_are_embedded_in_their_context() -> None:
    """Guards token embeddings against padding, tokens that the tokeniser adds, and texts without any token."""
    encoder = SentenceEncoder.load("all-minilm-l6-v2")
    assert isinstance(encoder, TokenEncoder)
    short, longer, empty = encoder.token_embeddings(["river bank", "the bank gives money to a film studio", ""])
    assert (short.dtype, short.shape) == (np.float32, (2, encoder.width))
    assert longer.shape == (8, encoder.width)
    assert len(empty) > 0
    for rows in (short, longer, empty):
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert encoder.token_embeddings(["river bank"])[0] == pytest.approx(short, abs=1e-5)
    assert 0.1 < short[1] @ longer[1] < 0.99  # one word, another context
    assert encoder.token_embeddings([]) == []


class _WithoutTokens:
    """Stands for a sentence-transformers model that averages static vectors."""

    def eval(self) -> _WithoutTokens:
        return self

    def __getitem__(self, _: int) -> None:
        return None

    def encode(self, texts: list[str], **_: object) -> list[dict[str, int]]:
        return [{"sentence_embedding": 0} for _ in texts]


def test_a_model_without_tokens_is_named() -> None:
    """Guards against a KeyError from inside a selector."""
    encoder = SentenceEncoder(_WithoutTokens(), fingerprint="static", source="static")
    with pytest.raises(ModelLoadError, match="tokens"):
        encoder.token_embeddings(["a film"])


def test_a_missing_or_damaged_encoder_is_named(tmp_path: Path) -> None:
    """Guards against a traceback of sentence-transformers."""
    (tmp_path / "config.json").write_text("{")
    for source in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelLoadError, match="bundled names work offline"):
            SentenceEncoder.load(source)


class _Reading:
    """Embeds how much of a text it reads."""

    def __init__(self, max_seq_length: int) -> None:
        self.max_seq_length = max_seq_length

    def eval(self) -> _Reading:
        return self

    def __getitem__(self, _: int) -> None:
        return None

    def encode(self, texts: list[str], **_: object) -> list[list[float]]:
        return [[float(min(len(text.split()), self.max_seq_length))] for text in texts]


def test_encoders_that_read_less_do_not_share_embeddings() -> None:
    """Guards against embeddings of cut texts where whole ones were asked for: the weights are the same."""
    short, long = (SentenceEncoder(_Reading(count), fingerprint="same", source="fake") for count in (2, 8))
    assert short.encode(["a b c d"]).tolist() == [[2.0]]
    assert long.encode(["a b c d"]).tolist() == [[4.0]]


@pytest.mark.parametrize(("encoding", "least"), [(BFLOAT16, 0.999), (ONNX, 0.999999), (ONNX_INT8, 0.97)])
def test_a_quicker_copy_is_another_encoder_that_means_the_same(encoding: str, least: float) -> None:
    """Guards quick queries: close to what the pool was embedded with, of unit norm, and never mistaken for it."""
    if encoding != BFLOAT16:
        pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    encoder = SentenceEncoder.load("all-minilm-l6-v2")
    texts = ["a film about a clumsy detective", "stock prices fell", "a warm comedy " * 40]
    exact = encoder.encode(texts)
    quick = encoder.computing(encoding)
    assert quick.computing(encoding) is quick
    assert quick.fingerprint == f"{encoder.fingerprint}:{encoding}"
    rows = quick.encode(texts)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert ((rows * exact).sum(axis=1) > least).all()
    assert encoding == ONNX or not np.array_equal(rows, exact)
    assert np.array_equal(encoder.encode(texts), exact)
    assert encoder.encode(["another text"]).dtype == np.float32


@pytest.mark.bundled
def test_what_a_text_is_embedded_as_in_8_bits_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards 8-bit activations against being scaled by a whole batch, and padding, order and an empty text."""
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    quick = SentenceEncoder.load("all-minilm-l6-v2").computing(ONNX_INT8)
    texts = ["", "x", "a warm comedy " * 100, "stock prices fell", *(f"film {number}" for number in range(40))]
    together = quick.encode(texts)
    quick.forget_all_but([])
    assert np.array_equal(np.concatenate([quick.encode([text]) for text in texts]), together)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExtraMissingError, match="onnx"):
        SentenceEncoder.load("all-minilm-l6-v2").computing(ONNX)


def test_what_onnx_cannot_run_is_named() -> None:
    """Guards against a traceback of the exporter for an encoder that looks words up, and for a misspelt name."""
    fake = SentenceEncoder(_Reading(2), fingerprint="same", source="fake")
    with pytest.raises(UnknownNameError, match="bfloat16"):
        fake.computing("bfloat8")
    quick = SentenceEncoder(_Reading(2), fingerprint="same", source="fake", encoding=BFLOAT16)
    for encoding in (TORCH, ONNX):  # which would pass rounded weights off as exact ones
        with pytest.raises(UsageError, match="expected one that computes by torch"):
            quick.computing(encoding)
    with pytest.raises(ModelLoadError, match="does not begin with a transformer"):
        onnx_transformer.run_by_onnx(torch.nn.Sequential(torch.nn.Linear(2, 2)), int8=False, source="fake")


@pytest.mark.parametrize("count", [31, 33])
def test_texts_keep_their_rows_whatever_batch_they_come_in(count: int) -> None:
    """Guards the order of rows where few texts are cut into batches by their length."""
    encoder = SentenceEncoder.load("all-minilm-l6-v2")
    texts = [" ".join(["word"] * (1 + number * 7 % 23)) + f" {number}" for number in range(count)]
    together = encoder.encode(texts)
    encoder.forget_all_but([])
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-5)
