"""Tests of exact search: every way to compute it gives what sorting all products gives, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.retrieval import exact
from selector.retrieval.exact import ExactSearch, Numbers, Rows
from selector.retrieval.index import VectorIndex


def sorted_products(queries: Rows, rows: Rows, k: int, removed: set[int]) -> tuple[list[Any], list[Any]]:
    """The definition: every product by itself, all of them sorted, ties by number."""
    scores, numbers = [], []
    for query in queries:
        own = np.einsum("pd,d->p", rows, query)
        left = [at for at in np.lexsort((np.arange(len(rows)), -own)).tolist() if at not in removed][:k]
        numbers.append(left)
        scores.append(own[left].tolist())
    return scores, numbers


def clusters(count: int, *, seed: int, width: int, distinct: int, spread: float) -> Rows:
    """Unit rows, many of them equal or nearly so."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((distinct, width))[rng.integers(distinct, size=count)]
    rows = rows + spread * rng.standard_normal((count, width)) * (rng.random((count, 1)) < 0.5)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 300),
    st.integers(1, 9),
    st.integers(0, 1000),
    st.integers(1, 40),
    st.sampled_from([0.0, 1e-7, 1e-3, 0.3]),
    st.data(),
)
def test_every_way_gives_what_sorting_gives(
    count: int, asked: int, seed: int, distinct: int, spread: float, data: st.DataObject
) -> None:
    """Guards ties at the border, products that differ in their last bits, removed rows, and uneven blocks."""
    rows = clusters(count, seed=seed, width=24, distinct=distinct, spread=spread)
    queries = clusters(asked, seed=seed, width=24, distinct=distinct, spread=spread)
    removed = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1)) if data.draw(st.booleans()) else set()
    k = data.draw(st.integers(1, count - len(removed)))
    expected = sorted_products(queries, rows, k, removed)
    for few, worth_a_copy, at_once in ((0, 10**9, 2**24), (9, 10**9, 2**24), (9, 1, 2**24), (0, 1, 2 * count)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact, "FEW", few)
            patch.setattr(exact, "WORTH_A_COPY", worth_a_copy)
            patch.setattr(exact, "PRODUCTS_AT_ONCE", at_once)
            scores, numbers = ExactSearch(rows).search(queries, k, removed=removed)
        assert (scores.tolist(), numbers.tolist()) == expected


def coarse_answers(rows: Rows, queries: Rows, k: int) -> list[Numbers | None]:
    coarse = exact._Coarse(rows)
    return [coarse.near(query, k) for query in queries]


def test_the_copy_is_used_where_it_proves_enough_and_only_there() -> None:
    """Guards the speed, which needs proofs to succeed on ordinary rows, and the answer, which needs them to fail."""
    ordinary = clusters(3000, seed=1, width=64, distinct=3000, spread=0.0)
    found = coarse_answers(ordinary, ordinary[:50], 4)
    assert sum(own is not None for own in found) >= 45
    for query, own in zip(ordinary[:50], found, strict=True):
        assert own is None or set(np.argsort(-(ordinary @ query))[:4].tolist()) <= set(own.tolist())
    alike = clusters(3000, seed=1, width=64, distinct=1, spread=1e-4)
    assert coarse_answers(alike, alike[:5], 4) == [None] * 5


def test_the_bound_holds_for_rows_that_eight_bits_tell_badly() -> None:
    """Guards the error bound where one long row stretches the range of every number."""
    rows = clusters(2500, seed=3, width=32, distinct=2500, spread=0.0)
    rows[7] *= 40
    queries = clusters(40, seed=4, width=32, distinct=40, spread=0.0)
    scores, numbers = ExactSearch(rows).search(queries[:4], 5)
    assert (scores.tolist(), numbers.tolist()) == sorted_products(queries[:4], rows, 5, set())
    for query, own in zip(queries, coarse_answers(rows, queries, 5), strict=True):
        assert own is None or set(np.argsort(-(rows @ query))[:5].tolist()) <= set(own.tolist())


def test_an_index_follows_rows_that_are_added_and_removed() -> None:
    """Guards against a search in rows, or a copy of rows, that moved in memory."""
    rows = np.random.default_rng(5).standard_normal((2600, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = VectorIndex(rows[:2100], kind="exact")
    assert index.search(rows[:2], 1)[1].ravel().tolist() == [0, 1]
    index.add(rows[2100:])
    assert index.search(rows[2598:], 1)[1].ravel().tolist() == [2598, 2599]
    index.remove([2599])
    for few in (rows[2598:], rows[2590:]):
        scores, numbers = index.search(few, 3)
        assert (scores.tolist(), numbers.tolist()) == sorted_products(few, rows, 3, {2599})


def test_an_answer_is_the_same_in_every_batch() -> None:
    """Guards the law of selectors to the last bit, with real sizes: alone from the copy, together from a product."""
    rows = clusters(4000, seed=6, width=384, distinct=900, spread=1e-3)
    search = ExactSearch(rows)
    scores, numbers = search.search(rows[:60], 7)
    for size in (1, 3, 7, 30):
        parts = [search.search(rows[start : start + size], 7) for start in range(0, 60, size)]
        assert np.concatenate([own for own, _ in parts])[:60].tolist() == scores.tolist()
        assert np.concatenate([own for _, own in parts])[:60].tolist() == numbers.tolist()


def test_rows_are_removed_between_searches_of_few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards removed rows against the copy in eight bits, made when there were none, where queries are asked singly."""
    rows = clusters(2500, seed=8, width=32, distinct=2500, spread=0.0)
    search = ExactSearch(rows)
    monkeypatch.setattr(exact, "PRODUCTS_AT_ONCE", 1)  # as with more rows than are multiplied at once
    for removed in (set(), {0, 1}, set(), set(range(0, 2500, 2))):
        for asked in (rows[:3], rows[:9]):
            scores, numbers = search.search(asked, 4, removed=removed)
            assert (scores.tolist(), numbers.tolist()) == sorted_products(asked, rows, 4, removed)
