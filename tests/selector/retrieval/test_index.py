"""Tests of the indexes: exact where that is promised, near to it elsewhere, and alive when the pool changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import ArtifactError, ArtifactMismatchError, TooFewExamplesError, UnknownNameError
from selector.retrieval.index import KINDS, Rows, VectorIndex
from selector.retrieval.text_index import TextIndex
from selector.testing import ToyEncoder


def unit_rows(count: int, *, seed: int = 0, width: int = 16) -> Rows:
    rows = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


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


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_comes_back_from_its_folder(kind: str, tmp_path: Path) -> None:
    """Guards save and load of every kind, mapped and read, with removed rows, and additions to a mapped one."""
    rows = unit_rows(3000)
    index = VectorIndex(rows, kind=kind)
    best = index.search(rows[:9], 1)[1].ravel()
    assert best.tolist() == list(range(9))
    index.remove(best)
    index.save(tmp_path)
    for memory_map in (True, False):
        loaded = VectorIndex.load(tmp_path, memory_map=memory_map)
        assert (loaded.kind, len(loaded), loaded.width) == (kind, 2991, 16)
        assert loaded.search(rows[:9], 5)[1].tolist() == index.search(rows[:9], 5)[1].tolist()
        assert not set(loaded.search(rows[:9], 20)[1].ravel()) & set(range(9))
        assert loaded.add(rows[:2]).tolist() == [3000, 3001]
        assert loaded.search(rows[:2], 1)[1].ravel().tolist() == [3000, 3001]


@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_that_are_left_are_all_found(kind: str) -> None:
    """Guards approximate indexes against answers with holes where most rows were removed."""
    rows = unit_rows(3000)
    index = VectorIndex(rows, kind=kind)
    index.remove(range(2995))
    scores, numbers = index.search(rows[:4], 5)
    products = rows[:4] @ rows[2995:].T
    assert numbers.tolist() == (np.argsort(-products, axis=1) + 2995).tolist()
    assert scores == pytest.approx(-np.sort(-products, axis=1), abs=1e-6)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_approximate_search_finds_nearly_all_neighbours(kind: str) -> None:
    """Guards the settings of the approximate kinds: recall of the ten nearest of rows that lie in clusters."""
    rng = np.random.default_rng(3)
    rows = unit_rows(200, seed=1)[rng.integers(200, size=20_000)] + 0.15 * unit_rows(20_000, seed=2)
    queries = rows[:200] + 0.05 * unit_rows(200, seed=4)
    exact = VectorIndex(rows, kind="exact").search(queries, 10)[1]
    found = VectorIndex(rows, kind=kind).search(queries, 10)[1]
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(exact, found, strict=True)]) > 0.9


def test_errors_of_an_index_are_named(tmp_path: Path) -> None:
    """Guards the messages for a missing or damaged file, too few rows, and an unknown kind."""
    rows = ToyEncoder().encode(["a b", "c d", "e f"])
    index = VectorIndex(rows)
    with pytest.raises(TooFewExamplesError):
        index.search(rows, 4)
    assert index.search(rows[:0], 2)[1].shape == (0, 2)
    with pytest.raises(UnknownNameError):
        VectorIndex(rows, kind="tree")
    with pytest.raises(ArtifactError, match="Build it again"):
        VectorIndex.load(tmp_path)
    index.save(tmp_path)
    (tmp_path / "index.faiss").write_bytes(b"no index")
    with pytest.raises(ArtifactError, match="Build it again"):
        VectorIndex.load(tmp_path)


class CountingEncoder(ToyEncoder):
    """Counts what it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []

    def encode(self, texts: object) -> Rows:  # type: ignore[override]
        self.embedded += list(texts)  # type: ignore[call-overload]
        return super().encode(texts)  # type: ignore[arg-type]


def test_a_changed_list_embeds_only_what_is_new(tmp_path: Path) -> None:
    """Guards additions, removals, duplicates and reordering, in memory and after loading."""
    encoder = CountingEncoder()
    before = ["a b", "c d", "e f", "c d"]
    after = ["g h", "c d", "a b", "g h"]
    index = TextIndex(encoder, before)
    index.save(tmp_path)
    for changed in (index, TextIndex.load(tmp_path, encoder, before)):
        encoder.embedded.clear()
        changed.update(after)
        assert (sorted(encoder.embedded), len(changed)) == (["g h", "g h"], 4)
        scores, positions = changed.search(ToyEncoder().encode(["g h", "c d", "a b"]), 2)
        assert positions[0].tolist() == [0, 3]
        assert positions[1:, 0].tolist() == [1, 2]
        assert scores[:, 0] == pytest.approx(1, abs=1e-6)
        changed.update(before)
        assert changed.search(ToyEncoder().encode(["c d"]), 2)[1].tolist() == [[1, 3]]


def test_an_index_is_bound_to_its_encoder(tmp_path: Path) -> None:
    """Guards against searching rows of one encoder with queries of another."""
    TextIndex(ToyEncoder(), ["a", "b"]).save(tmp_path)
    with pytest.raises(ArtifactMismatchError, match="encoder"):
        TextIndex.load(tmp_path, ToyEncoder(width=16), ["a", "b"])
    (tmp_path / "texts.json").unlink()
    with pytest.raises(ArtifactError, match="Build it again"):
        TextIndex.load(tmp_path, ToyEncoder(), ["a", "b"])


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_rows_come_back_by_position(kind: str) -> None:
    """Guards sets that are made diverse by the rows of other texts, once the list has changed."""
    encoder = ToyEncoder()
    before = [f"text {number}" for number in range(40)]
    index = TextIndex(encoder, before, kind=kind)
    after = [*before[:5:-1], "new one", "new two"]
    index.update(after)
    assert index.rows_of([0, 33, 35]) == pytest.approx(encoder.encode([after[0], after[33], after[35]]))
