"""Tests of set selection: the kernel by hand, greedy inference against its definition, and what a retriever adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import ArtifactError, UsageError
from selector.inference.engine import InferenceEngine
from selector.strategies.dense import NearestSelector
from selector.strategies.determinantal import DPPSelector, ceil_kernel, greedy_map
from selector.strategies.named import build_selector
from selector.strategies.retriever import RetrieverCard, RetrieverSelector, write_retriever_card
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example

Matrix = npt.NDArray[np.float64]


def unit_rows(count: int, *, seed: int, width: int = 6) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float64)


def log_determinant(kernel: Matrix, chosen: list[int]) -> float:
    return float(np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1])


def greedily(kernel: Matrix, k: int) -> list[int]:
    """The definition: one determinant for each candidate at each step."""
    chosen: list[int] = []
    for _ in range(k):
        left = [at for at in range(len(kernel)) if at not in chosen]
        chosen.append(max(left, key=lambda at: log_determinant(kernel, [*chosen, at])))
    return chosen


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(0, 1000), st.data())
def test_greedy_inference_equals_its_definition(size: int, seed: int, data: st.DataObject) -> None:
    """Guards the incremental factor against a wrong update, which shows from the second or third pick on."""
    rows = np.random.default_rng(seed).standard_normal((size, size + 2))
    kernel = rows @ rows.T
    k = data.draw(st.integers(0, size))
    assert greedy_map(kernel, k) == greedily(kernel, k)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 10), st.integers(0, 1000), st.floats(0.02, 2.0))
def test_the_first_pick_is_the_best_set_of_one(size: int, seed: int, trade_off: float) -> None:
    """Guards the most relevant candidate, which no set may miss, and the scale of the kernel."""
    rows = unit_rows(size + 1, seed=seed)
    kernel = ceil_kernel(rows[1:] @ rows[0], rows[1:] @ rows[1:].T, trade_off=trade_off)
    best = max(range(size), key=lambda at: log_determinant(kernel, [at]))
    assert greedy_map(kernel, 1) == [best] == [int((rows[1:] @ rows[0]).argmax())]


def test_the_kernel_is_that_of_the_paper() -> None:
    """Guards the factors of two, on which the meaning of a trade-off depends."""
    relevance, similarity = np.array([0.6, 0.2]), np.array([[1.0, -0.5], [-0.5, 1.0]])
    low = np.exp((0.6 - 0.8) / (2 * 0.1))
    expected = [[1.0, 0.25 * low], [0.25 * low, low**2]]
    assert ceil_kernel(relevance, similarity, trade_off=0.1) == pytest.approx(np.array(expected))


def test_a_small_trade_off_ranks_by_relevance_and_a_large_one_by_diversity() -> None:
    """Guards both ends of the trade-off, the lower one down to where all weights but one round to zero."""
    rows = unit_rows(13, seed=4, width=32)
    ranked = np.argsort(-(rows[1:] @ rows[0]))
    candidates = rows[1:][ranked]
    relevance, similarity = candidates @ rows[0], candidates @ candidates.T
    for trade_off in (1e-3, 1e-5, 1e-9):
        assert greedy_map(ceil_kernel(relevance, similarity, trade_off=trade_off), 6) == list(range(6))
    twins, away = np.array([0.9, 0.88, 0.3]), np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1.0]])
    assert greedy_map(ceil_kernel(twins, away, trade_off=1e-3), 2) == [0, 1]
    assert greedy_map(ceil_kernel(twins, away, trade_off=10.0), 2) == [0, 2]


def test_duplicates_come_last_and_never_make_a_set_short() -> None:
    """Guards against division by a gain of zero, and against fewer than k where the rank of the kernel is less."""
    rows = np.repeat(unit_rows(3, seed=1), 3, axis=0)
    query = rows[0]
    kernel = ceil_kernel(rows @ query, rows @ rows.T, trade_off=0.1)
    for k in range(len(rows) + 1):
        picked = greedy_map(kernel, k)
        assert len(set(picked)) == len(picked) == k
        assert len({at // 3 for at in picked}) == min(k, 3)
    by_relevance = [int(at) for at in np.argsort(-(rows @ query), kind="stable")]
    first = greedy_map(kernel, 3)
    assert greedy_map(kernel, 9)[3:] == [at for at in by_relevance if at not in first]
    assert greedy_map(np.zeros((4, 4)), 3) == [0, 1, 2]


def test_a_duplicate_gives_its_place_to_another_candidate() -> None:
    """Guards what the set is for: of two equal demonstrations the second says nothing new."""
    texts = ["dull plot", "Dull -- plot!", "dull cast", "warm music"]
    pool = Pool(Example(str(at), {"text": text}, "rotten") for at, text in enumerate(texts))
    nearest = NearestSelector(pool, ToyEncoder())
    query = Example("q", {"text": "such a dull plot"})
    assert set(nearest.select([query], 2)[0].indices) == {0, 1}
    (chosen,) = DPPSelector(nearest).select([query], 2)
    assert len({0, 1} & set(chosen.indices)) == 1
    assert set(DPPSelector(nearest).select([query], 4)[0].indices) == {0, 1, 2, 3}


def test_without_diversity_the_nearest_are_chosen() -> None:
    """Guards the way from the shortlist to pool positions, order and scores, and k above the shortlist."""
    nearest = NearestSelector(planted_pool(), ToyEncoder())
    queries = planted_examples(5, seed=3, prefix="q")
    for k in (1, 4, 9):
        assert DPPSelector(nearest, trade_off=1e-6, shortlist=6).select(queries, k) == nearest.select(queries, k)
    with pytest.raises(UsageError, match="more than 0"):
        DPPSelector(nearest, trade_off=0.0)


def test_queries_are_searched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the batch: one search for all queries that leave equally many candidates."""
    pool = planted_pool()
    nearest = NearestSelector(pool, ToyEncoder())
    asked: list[int] = []
    select = nearest.select
    monkeypatch.setattr(nearest, "select", lambda queries, k: asked.append(k) or select(queries, k))
    DPPSelector(nearest).select([*planted_examples(9, seed=3, prefix="q"), pool[0], pool[7]], 3)
    assert asked == [24, 23]


def test_sets_are_chosen_with_a_trained_retriever_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards dpp:FOLDER against the task's own encoder or text form, and against a folder without a retriever."""
    pool = planted_pool()
    trained = RetrieverSelector(pool, ToyEncoder(width=48), labelled_demonstrations=True)
    options = {"engine": InferenceEngine(ToyLanguageModel(), planted_template(), pool), "encoder": ToyEncoder()}
    queries = planted_examples(6, seed=2, prefix="q")
    with monkeypatch.context() as patched:
        patched.setattr(RetrieverSelector, "load", lambda folder, _: {str(tmp_path): trained}[folder])
        built = build_selector(f"dpp:{tmp_path}", dev=(), **options)  # type: ignore[arg-type]
    assert isinstance(built, DPPSelector)
    assert built.encoder is trained.encoder
    assert built.select(queries, 4) == DPPSelector(trained).select(queries, 4)
    plain = build_selector("dpp", dev=(), **options)  # type: ignore[arg-type]
    assert plain.select(queries, 4) != built.select(queries, 4)
    with pytest.raises(ArtifactError, match="retriever card"):
        build_selector(f"dpp:{tmp_path}", dev=(), **options)  # type: ignore[arg-type]
    write_retriever_card(tmp_path, RetrieverCard("base", "p", "t", "l", version=9))
    with pytest.raises(ArtifactError, match="version 9"):
        build_selector(f"dpp:{tmp_path}", dev=(), **options)  # type: ignore[arg-type]
