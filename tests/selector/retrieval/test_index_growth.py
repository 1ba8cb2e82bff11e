"""Tests of indexes whose size changes: their kind is the one that suits it, and what is gone does not stay for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from selector.retrieval import index as indexes
from selector.retrieval.index import Rows, VectorIndex
from selector.retrieval.text_index import DIGESTS_FILE, TextIndex
from selector.testing import ToyEncoder

TEXTS = [f"text {number} of all" for number in range(100)]
BY_SIZE = [(1, "exact"), (20, "exact"), (21, "hnsw"), (40, "hnsw"), (41, "ivf"), (100, "ivf")]


class CountingEncoder(ToyEncoder):
    """Counts what it embeds, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []
        self.fails = False

    def encode(self, texts: object) -> Rows:  # type: ignore[override]
        if self.fails:
            raise ConnectionError
        self.embedded += list(texts)  # type: ignore[call-overload]
        return super().encode(texts)  # type: ignore[arg-type]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of tens of rows are what others are of tens of thousands."""
    monkeypatch.setattr(indexes, "EXACT_UP_TO", 20)
    monkeypatch.setattr(indexes, "HNSW_UP_TO", 40)
    monkeypatch.setattr(indexes, "ROWS_PER_LIST", 10)


def check_finds_its_texts(index: TextIndex, texts: list[str]) -> None:
    """Every text is nearest to itself, and is its own row."""
    rows = ToyEncoder().encode(texts)
    assert index.search(rows, 1)[1].ravel().tolist() == list(range(len(texts)))
    assert index.rows_of(range(len(texts))).tolist() == rows.tolist()


def rows_saved(index: TextIndex, folder: Path) -> int:
    """How many rows the index keeps, removed ones among them."""
    index.save(folder)
    return len(load_file(folder / DIGESTS_FILE)["positions"])


def test_the_limits_are_those_of_the_documentation() -> None:
    """Guards the limits against being swapped or changed without the page that promises them."""
    expected = {1: "exact", 50_000: "exact", 50_001: "hnsw", 200_000: "hnsw", 200_001: "ivf", 5_000_000: "ivf"}
    assert {rows: indexes._suiting(rows) for rows in expected} == expected


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(("size", "kind"), BY_SIZE)
def test_the_kind_of_an_index_is_chosen_by_its_size(size: int, kind: str) -> None:
    """Guards the automatic choice where an index is made, and that a kind that was asked for is kept."""
    rows = ToyEncoder().encode(TEXTS[:size])
    assert VectorIndex(rows).kind == TextIndex(ToyEncoder(), TEXTS[:size]).kind == kind
    assert VectorIndex(rows, kind="hnsw").kind == TextIndex(ToyEncoder(), TEXTS[:size], kind="hnsw").kind == "hnsw"


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("loaded", [False, True])
def test_the_kind_follows_the_size(loaded: bool, tmp_path: Path) -> None:
    """Guards a pool that grows past a limit, or shrinks below it, against the kind that once suited it."""
    encoder = CountingEncoder()
    index = TextIndex(encoder, TEXTS[:10])
    former = 10
    for size, kind in (*BY_SIZE[1:], *reversed(BY_SIZE)):
        if loaded:
            index.save(tmp_path)
            index = TextIndex.load(tmp_path, encoder, TEXTS[:former])
        encoder.embedded.clear()
        assert index.update(TEXTS[:size]) == len(encoder.embedded) == max(0, size - former)
        assert (index.kind, len(index)) == (kind, size)
        check_finds_its_texts(index, TEXTS[:size])
        former = size


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("kind", indexes.KINDS)
def test_a_kind_that_was_asked_for_stays(kind: str, loaded: bool, tmp_path: Path) -> None:
    """Guards the choice of somebody who knows better, which a save has to remember."""
    index = TextIndex(ToyEncoder(), TEXTS[:30], kind=kind)
    for size in (100, 30, 5, 45):
        if loaded:
            index.save(tmp_path)
            index = TextIndex.load(tmp_path, ToyEncoder(), TEXTS[:30])
        index.update(TEXTS[:size])
        assert index.kind == kind
        check_finds_its_texts(index, TEXTS[:size])


@pytest.mark.usefixtures("small_limits")
def test_lists_follow_the_size() -> None:
    """Guards IVF against lists that grow with the pool, until a search reads most of it."""
    index = VectorIndex(ToyEncoder().encode(TEXTS[:50]))
    assert index._index.nlist == 5
    assert [index.outgrown(added) for added in (0, 20, 59, 60)] == [False, False, False, True]
    assert index.rebuilt(ToyEncoder().encode(TEXTS[:60]))._index.nlist == 11


@pytest.mark.parametrize("kind", ["auto", *indexes.KINDS])
def test_what_is_gone_is_left_out_once_it_is_the_larger_part(kind: str, tmp_path: Path) -> None:
    """Guards a pool that is edited for months against an index of mostly removed rows."""
    encoder = CountingEncoder()
    index = TextIndex(encoder, TEXTS, kind=kind)
    encoder.embedded.clear()
    index.update(TEXTS[50:])
    assert rows_saved(index, tmp_path) == 100
    index.update(TEXTS[:50:-1])
    assert rows_saved(index, tmp_path) == 49
    check_finds_its_texts(index, TEXTS[:50:-1])
    assert not encoder.embedded
    again = TextIndex.load(tmp_path, encoder, TEXTS[51:])
    check_finds_its_texts(again, TEXTS[51:])
    again.update(["quite", "another", "pool"])
    check_finds_its_texts(again, ["quite", "another", "pool"])
    assert rows_saved(again, tmp_path) == 3
    assert encoder.embedded == ["quite", "another", "pool"]


def test_an_update_whose_encoder_fails_changes_nothing() -> None:
    """Guards the index against rows that are removed while their texts are not, after an error of the encoder."""
    encoder = CountingEncoder()
    index = TextIndex(encoder, TEXTS)
    encoder.fails = True
    with pytest.raises(ConnectionError):
        index.update([*TEXTS[:40], "new"])
    encoder.fails = False
    check_finds_its_texts(index, TEXTS)
    index.update([*TEXTS[:40], "new"])
    check_finds_its_texts(index, [*TEXTS[:40], "new"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 15), min_size=1, max_size=12), min_size=1, max_size=6))
def test_any_course_of_updates_ends_as_a_fresh_index(course: list[list[int]]) -> None:
    """Guards the numbers of rows, with repeated texts, over additions, removals and rebuilds in any order."""
    lists = [[f"word{number}" for number in one] for one in course]
    index = TextIndex(ToyEncoder(), lists[0])
    asked = ToyEncoder().encode([f"word{number}" for number in range(16)])
    for texts in lists[1:]:
        index.update(texts)
        scores, positions = TextIndex(ToyEncoder(), texts).search(asked, len(texts))
        found_scores, found_positions = index.search(asked, len(texts))
        assert (found_scores.tolist(), found_positions.tolist()) == (scores.tolist(), positions.tolist())
