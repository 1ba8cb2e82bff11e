"""Tests of k-DPP sampling: frequencies against determinants, and the edges where determinants are zero."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.strategies.dense import NearestSelector
from selector.strategies.determinantal import DPPSelector
from selector.strategies.determinantal_sampling import DPPSampleSelector, log_elementary_polynomials, sample_k_dpp
from selector.testing import ToyEncoder, planted_examples, planted_pool


def kernel_of(size: int, *, seed: int, rank: int) -> Any:
    rows = np.random.default_rng(seed).standard_normal((size, rank))
    return rows @ rows.T


@pytest.mark.parametrize("k", [1, 2, 3])
def test_sets_are_drawn_as_often_as_their_determinants_say(k: int) -> None:
    """Guards exactness: both halves of the sampler, without either of which single candidates still look right."""
    kernel = kernel_of(4, seed=6, rank=5)
    draws = 8000
    generator = np.random.default_rng(0)
    drawn = Counter(tuple(sorted(sample_k_dpp(kernel, k, generator=generator))) for _ in range(draws))
    weights = {one: np.linalg.det(kernel[np.ix_(one, one)]) for one in combinations(range(4), k)}
    assert max(weights.values()) > 2 * min(weights.values())
    for one, weight in weights.items():
        expected = weight / sum(weights.values())
        assert drawn[one] / draws == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / draws))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=8), st.data())
def test_elementary_polynomials_follow_their_definition(values: list[float], data: st.DataObject) -> None:
    """Guards the recursion, and its logarithm against overflow."""
    k = data.draw(st.integers(0, len(values)))
    table = log_elementary_polynomials(np.array(values), k)
    for degree in range(k + 1):
        for count in range(len(values) + 1):
            products = [math.prod(chosen) for chosen in combinations(values[:count], degree)]
            expected = math.log(sum(products)) if products else -math.inf
            assert table[degree, count] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000), st.data())
def test_k_distinct_candidates_whatever_the_rank(size: int, rank: int, seed: int, data: st.DataObject) -> None:
    """Guards against short sets where k is above the rank, and against dependent ones where it is not."""
    kernel = kernel_of(size, seed=seed, rank=rank)
    k = data.draw(st.integers(0, size))
    drawn = sample_k_dpp(kernel, k, generator=np.random.default_rng(seed))
    assert len(set(drawn)) == len(drawn) == k
    independent = drawn[: min(k, rank)]
    assert np.linalg.matrix_rank(kernel[np.ix_(independent, independent)]) == len(independent)


def test_a_kernel_without_weight_gives_the_first() -> None:
    """Guards against the logarithm of zero."""
    assert sample_k_dpp(np.zeros((4, 4)), 3, generator=np.random.default_rng(0)) == [0, 1, 2]


def test_samples_differ_by_seed_and_query_and_stand_by_relevance() -> None:
    """Guards reproducibility, the order in the prompt, and that a draw is not the most probable set each time."""
    nearest = NearestSelector(planted_pool(40), ToyEncoder())
    queries = planted_examples(10, seed=3, prefix="q")
    drawn = {seed: DPPSampleSelector(nearest, seed=seed, shortlist=20).select(queries, 4) for seed in (0, 1)}
    assert drawn[0] == DPPSampleSelector(nearest, seed=0, shortlist=20).select(queries, 4)
    assert drawn[0] != drawn[1]
    assert drawn[0] != DPPSelector(nearest, shortlist=20).select(queries, 4)
    for selection in drawn[0]:
        assert list(selection.scores) == sorted(selection.scores)
