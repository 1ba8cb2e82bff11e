"""Tests of what compares queries with demonstrations where a model embeds the two by different weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selector.data.pool import Pool
from selector.ordering.similarity import SimilarityOrderer
from selector.retrieval.encoder import SentenceEncoder
from selector.strategies.dense import NearestSelector
from selector.strategies.votek import FastVoteKSelector
from selector.types import Example, Selection


class Router:
    """What tells a model of two encoders."""


class TurningModel:
    """Embeds a text, an angle in degrees; as a query turned by 90 degrees."""

    def eval(self) -> TurningModel:
        return self

    def __getitem__(self, index: int) -> Router:
        return Router()

    def encode(self, texts: list[str], *, task: str, **_: Any) -> np.ndarray:
        angles = np.radians([float(text) + 90 * (task == "query") for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.fixture
def turning() -> SentenceEncoder:
    return SentenceEncoder(TurningModel(), fingerprint="turning", source="turning")


def test_queries_are_embedded_as_queries(turning: SentenceEncoder) -> None:
    """Guards training and orders against other neighbours than those that are served: queries went as documents."""
    pool = Pool([Example(f"p{angle}", {"text": str(angle)}, "a") for angle in (5, 80, 100, 200)])
    (found,) = NearestSelector(pool, turning).select([Example("q", {"text": "0"})], 2)
    assert {*found.indices} == {1, 2}
    (voted,) = FastVoteKSelector(pool, turning, budget=4).select([Example("q", {"text": "0"})], 2)
    assert {*voted.indices} == {1, 2}
    (ordered,) = SimilarityOrderer(pool, turning).order([Example("q", {"text": "3"})], [Selection.of(0, 1, 2, 3)])
    assert ordered.indices == (3, 0, 1, 2)
