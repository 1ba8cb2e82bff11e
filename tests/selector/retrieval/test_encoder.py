"""Tests of the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selector.errors import ModelLoadError
from selector.retrieval.encoder import SentenceEncoder, TextEncoder


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
