"""Tests of what the benchmarks measure with and what the documentation says of it; nothing here asserts a speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from benchmarks import figures, workloads
from benchmarks.machine import gemm_peak, settled_memory, watched_memory
from selector.inference.engine import InferenceEngine
from selector.testing import ToyLanguageModel


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_workloads_are_repeatable_and_can_be_scored(name: str) -> None:
    """Guards comparisons between runs: the same requests each time, none of them from outside the pool."""
    corpus = workloads.trec_corpus()
    build = workloads.WORKLOADS[name]
    calls = build(corpus, size=3)
    assert calls == build(workloads.trec_corpus(), size=3)
    engine = InferenceEngine(ToyLanguageModel(), corpus.template, corpus.pool)
    for call in calls:
        assert engine.score(call.queries, call.selections).shape == (len(call.queries), 6)


def test_questions_are_made_up_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a checkout without the data sets."""
    monkeypatch.setattr(workloads, "TREC", workloads.TREC / "missing")
    corpus = workloads.trec_corpus()
    assert (corpus.source, len(corpus.pool), len(corpus.queries)) == ("made up", 1000, 400)
    assert corpus.queries == workloads.trec_corpus().queries


def test_the_documentation_shows_the_result_files() -> None:
    """Guards against numbers in the documentation that no result file holds."""
    assert figures.page() == figures.PAGE.read_text(encoding="utf-8")


def test_yardsticks_measure_something() -> None:
    """Guards the denominators of all shares."""
    sustained, fastest = gemm_peak(torch.float32, seconds=0.01)
    assert 1e8 < sustained <= fastest
    with watched_memory(settled_memory()) as memory:
        block = np.ones(32 * 2**17)
        time.sleep(0.05)
    assert memory[0] >= 0.9 * block.nbytes
