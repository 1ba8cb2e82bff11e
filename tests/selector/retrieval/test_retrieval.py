"""Tests of the encoder and of the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import ArtifactError, ModelLoadError, TooFewExamplesError
from selector.retrieval.encoder import SentenceEncoder, TextEncoder
from selector.retrieval.index import VectorIndex
from selector.testing import ToyEncoder


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 1000))
def test_search_equals_sorting_all_products(rows: int, queries: int, seed: int) -> None:
    """Guards the index against FAISS's order of ties, and against the wrong metric."""
    rng = np.random.default_rng(seed)
    stored = rng.integers(-2, 3, size=(rows, 3)).astype(np.float32)  # small integers make many ties
    asked = rng.integers(-2, 3, size=(queries, 3)).astype(np.float32)
    scores, positions = VectorIndex(stored).search(asked, rows)
    products = asked @ stored.T
    expected = np.argsort(-products, axis=1, kind="stable")
    assert positions.tolist() == expected.tolist()
    assert scores.tolist() == np.take_along_axis(products, expected, axis=1).tolist()


def test_an_index_comes_back_from_its_file(tmp_path: Path) -> None:
    """Guards save and load, and the message for a damaged file."""
    rows = ToyEncoder().encode(["a b", "c d", "e f"])
    index = VectorIndex(rows)
    index.save(tmp_path / "index.faiss")
    loaded = VectorIndex.load(tmp_path / "index.faiss")
    assert (len(loaded), loaded.width) == (3, 32)
    assert loaded.search(rows, 2)[1].tolist() == index.search(rows, 2)[1].tolist()
    (tmp_path / "index.faiss").write_bytes(b"no index")
    with pytest.raises(ArtifactError, match="Build it again"):
        VectorIndex.load(tmp_path / "index.faiss")
    with pytest.raises(TooFewExamplesError):
        index.search(rows, 4)
    assert index.search(rows[:0], 2)[1].shape == (0, 2)


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


def test_a_missing_or_damaged_encoder_is_named(tmp_path: Path) -> None:
    """Guards against a traceback of sentence-transformers."""
    (tmp_path / "config.json").write_text("{")
    for source in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelLoadError, match="bundled names work offline"):
            SentenceEncoder.load(source)
