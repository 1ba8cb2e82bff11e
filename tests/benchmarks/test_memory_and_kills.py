"""Tests of what the benchmarks of memory, kills and seconds count; nothing here asserts a speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bars, breakdown, fresh, killed, workloads
from benchmarks.machine import settled_memory, watched_memory
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.lm.huggingface import HuggingFaceLanguageModel


def test_memory_that_was_taken_before_the_watch_counts() -> None:
    """Guards peak memory against growth over a warmed process: 8 times the work showed less memory than once."""
    baseline = settled_memory()
    block = np.ones(64 * 2**17)
    with watched_memory(baseline) as memory:
        total = float(block[:8].sum())
    assert total == 8
    assert memory[0] >= 0.9 * block.nbytes


@pytest.fixture
def tiny_lm(tiny_llama: tuple[Any, Any]) -> HuggingFaceLanguageModel:
    return HuggingFaceLanguageModel(*tiny_llama, fingerprint="tiny", memory_budget=2**20)


def test_kept_prefixes_grow_to_their_share_of_the_budget(tiny_lm: HuggingFaceLanguageModel) -> None:
    """Guards the memory benchmark: with one call after a reset the arena never grew, and no budget was tried."""
    found = fresh.measured_here(tiny_lm, "b own demonstrations", size=4, pieces=4)
    assert found["calls"] == 4
    assert found["memory_budget_mib"] == 1
    assert found["kept_prefixes_mib_after_first_call"] < found["kept_prefixes_mib_at_the_end"]
    assert found["peak_below_budget"] == (found["peak_memory_mib"] < 1)
    once = fresh.measured_here(tiny_lm, "b own demonstrations", size=4, pieces=1)
    assert once["calls"] == 1


@pytest.mark.parametrize("pieces", [1, 3, 7, 40])
def test_cut_calls_ask_the_same(pieces: int) -> None:
    """Guards comparisons between numbers of calls: nothing is lost or asked twice."""
    (call,) = workloads.own_demonstrations(workloads.trec_corpus(), size=7)
    parts = list(fresh.cut(call, pieces))
    assert [query for part in parts for query in part.queries] == list(call.queries)
    assert [chosen for part in parts for chosen in part.selections] == list(call.selections)


def test_the_parts_of_a_profile_add_up(tiny_lm: HuggingFaceLanguageModel) -> None:
    """Guards the table of seconds against parts that are counted twice or left out, and hooks that stay."""
    corpus = workloads.trec_corpus()
    engine = InferenceEngine(tiny_lm, corpus.template, corpus.pool)
    calls = workloads.own_demonstrations(corpus, size=2)
    expected = engine.score(calls[0].queries, calls[0].selections)
    tiny_lm._scores.forget()  # type: ignore[union-attr]
    with breakdown.watched(tiny_lm) as watch:
        found = engine.score(calls[0].queries, calls[0].selections)
    assert found == pytest.approx(expected, abs=1e-5)
    assert {breakdown.LINEAR, breakdown.ATTENTION, breakdown.VOCABULARY, breakdown.PLANNING} <= set(watch.seconds)
    shares = breakdown.shares_of(watch.seconds, 2 * sum(watch.seconds.values()))
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())
    assert not any("forward" in vars(module) for module in tiny_lm._model.modules())


def test_a_stored_score_that_is_computed_again_is_told(tmp_path: Path) -> None:
    """Guards the evidence of the kill benchmark: it must see what it says never happens."""
    told: list[dict[str, Any]] = []
    store = killed.ToldStore(tmp_path / "s.sqlite", told.append)
    store.put({b"a": CompletionScore(-1.0, 1, 2), b"b": CompletionScore(-1.0, 1, 2)})
    store.put({b"b": CompletionScore(-1.0, 1, 2), b"c": CompletionScore(-1.0, 1, 2)})
    assert told == [{"stored": 2, "computed_again": 0}, {"stored": 2, "computed_again": 1}]
    assert killed.is_whole(tmp_path / "s.sqlite")


def kill_round(start: int, told: int) -> dict[str, Any]:
    return {"stored_at_start": start, "requests_told_as_stored": told, "computed_again": 0, "file_is_whole": True}


LAST = {"stored_at_start": 18, "asked": 60, "from_the_store": 18, "computed_again": 0}


def test_kills_without_progress_are_counted_as_such() -> None:
    """Guards the sentence in the documentation: ten of twenty kills hit a process that had stored nothing new."""
    rounds = [kill_round(0, 12), kill_round(12, 0), kill_round(12, 6)]
    result = killed.summary(rounds, last=LAST, largest=1e-6)
    assert (result["kills"], result["rounds_with_progress"], result["stored_by_killed_runs"]) == (3, 2, 18)
    assert result["computed_in_last_run"] == 42
    killed.check(result)


@pytest.mark.parametrize(
    ("rounds", "last", "largest", "broken"),
    [
        ([kill_round(0, 24)], LAST, 0.0, "lost"),
        ([kill_round(0, 18) | {"computed_again": 1}], LAST, 0.0, "computed again"),
        ([kill_round(0, 18)], LAST | {"from_the_store": 12}, 0.0, "computed again"),
        ([kill_round(0, 18) | {"file_is_whole": False}], LAST, 0.0, "damaged"),
        ([kill_round(0, 18)], LAST, 0.1, "wrong"),
    ],
)
def test_a_broken_promise_fails_the_benchmark(
    rounds: list[dict[str, Any]], last: dict[str, Any], largest: float, broken: str
) -> None:
    """Guards against a benchmark of crash safety that cannot fail."""
    with pytest.raises(RuntimeError, match=broken):
        killed.check(killed.summary(rounds, last=last, largest=largest))


def figures_of(share: float, ratio: dict[str, float]) -> dict[str, Any]:
    row = {
        "queries": 10,
        "tokens_computed": 100,
        "tokens_logical": 1200,
        "computed_tokens_per_second": 50.0,
        "duplicates_avoided": 1.0,
        "gemm_share": share,
        "gemm_share_of_fastest_product": share,
    }
    return {"engine": row, "ratio": ratio, "others": {"plain_first_token": 2.0}}


def test_a_missed_bar_is_called_missed_and_explained() -> None:
    """Guards honesty: the page showed ratios without the bars that they were to reach."""
    ratio = {"lm-eval bf16": 25.0, "lm-eval fp32": 5.0, "openicl fp32": 60.0, "plain_first_token": 1.5}
    every = ratio | {"plain_every_label": 9.0}
    engine = {
        "machine": {"avx512_bf16": False, "threads": 2},
        "workloads": {name: figures_of(0.6, every) for name in workloads.WORKLOADS},
    }
    row = {"factor": 8, "memory_budget_mib": 256, "peak_memory_mib": 300, "peak_below_budget": False}
    table = "\n".join(bars.bars_table(engine, {"rows": [row]}))
    assert "| (a) queries/s against lm-eval bf16 | 20 x | 25.0 x | yes |" in table
    assert "| (a) queries/s against openicl fp32 | 120 x | 60.0 x | **no** |" in table
    assert "| (b) share of the GEMM peak, kept up | 65% | 60% | **no** |" in table
    assert "| (b) peak memory at 8 x the work | below 256 MiB | 300 MiB | **no** |" in table
    shares = {"shares": {"linear layers": 0.7}, "linear_layers_of_gemm_peak": 0.8}
    text = " ".join(bars.misses(engine, {"machine": {"threads": 2}, "workloads": {"a x": shares}}))
    assert "5.0 x on (a)" in text
    assert "bounds the gain at about 2.0 x" in text  # 1200 / 10 / 6 tokens of a prompt against 100 / 10 computed
    assert "70% of the seconds at 80% of the peak: 56%" in text
    for rates in engine["workloads"].values():
        rates["ratio"] = {"plain_first_token": 1.5}
    assert "not measured" in "\n".join(bars.bars_table(engine, {"rows": [row]}))
